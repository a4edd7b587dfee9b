{{/* Fields of the Pod besides its containers and volumes. */}}
{{- define "imm-operator.placement" -}}
serviceAccountName: {{ include "imm-operator.serviceAccountName" . | quote }}
automountServiceAccountToken: {{ .Values.automountServiceAccountToken }}
terminationGracePeriodSeconds: {{ int64 .Values.terminationGracePeriodSeconds }}
{{- with include "imm-operator.pullSecrets" . }}
{{ . }}
{{- end }}
{{- range $field, $value := dict
  "securityContext" .Values.podSecurityContext "dnsConfig" .Values.dnsConfig "hostAliases" .Values.hostAliases
  "nodeSelector" .Values.nodeSelector "tolerations" .Values.tolerations "affinity" .Values.affinity }}
{{- with $value }}
{{ $field }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- range $field, $value := dict
  "priorityClassName" .Values.priorityClassName "runtimeClassName" .Values.runtimeClassName
  "schedulerName" .Values.schedulerName
  "dnsPolicy" (default (ternary "ClusterFirstWithHostNet" "" .Values.hostNetwork) .Values.dnsPolicy) }}
{{- with $value }}
{{ $field }}: {{ . | quote }}
{{- end }}
{{- end }}
{{- if .Values.hostNetwork }}
hostNetwork: true
{{- end }}
{{- if not (kindIs "invalid" .Values.hostUsers) }}
hostUsers: {{ .Values.hostUsers }}
{{- end }}
{{- $selector := dict "matchLabels" (include "imm-operator.selectorLabels" . | fromYaml) -}}
{{- $spread := list -}}
{{- range .Values.topologySpreadConstraints -}}
{{- if not (hasKey . "labelSelector") }}{{ $_ := set . "labelSelector" $selector }}{{ end -}}
{{- $spread = append $spread . -}}
{{- end -}}
{{- with $spread }}
topologySpreadConstraints:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Environment variables of the container; a variable of extraEnv replaces the chart's own of the same name. */}}
{{- define "imm-operator.environment" -}}
{{- $label := "metadata.labels['topology.kubernetes.io/region']" -}}
{{- $own := list
  (dict "name" "IMM_OPERATOR_NAMESPACE" "valueFrom" (dict "fieldRef" (dict "fieldPath" "metadata.namespace")))
  (dict "name" "IMM_OPERATOR_POD_REGION" "valueFrom" (dict "fieldRef" (dict "fieldPath" $label))) -}}
{{- with .Values.credentials.ecsRole -}}
{{- $own = append $own (dict "name" "ALIBABA_CLOUD_ECS_METADATA" "value" .) -}}
{{- end -}}
{{- with .Values.credentials.uri -}}
{{- $own = append $own (dict "name" "ALIBABA_CLOUD_CREDENTIALS_URI" "value" .) -}}
{{- end -}}
{{- $kept := list -}}
{{- range $own -}}
{{- if not (include "imm-operator.setsVariable" (list $ .name)) }}{{ $kept = append $kept . }}{{ end -}}
{{- end -}}
{{- toYaml (concat $kept .Values.extraEnv) }}
{{- end }}
