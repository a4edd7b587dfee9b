{{/* Fields of every Pod of the chart besides its containers and volumes. */}}
{{- define "imm-operator.podFields" -}}
serviceAccountName: {{ include "imm-operator.serviceAccountName" . | quote }}
automountServiceAccountToken: {{ .Values.automountServiceAccountToken }}
{{- with include "imm-operator.pullSecrets" . }}
{{ . }}
{{- end }}
{{- range $field, $value := dict
  "securityContext" .Values.podSecurityContext "dnsConfig" .Values.dnsConfig "hostAliases" .Values.hostAliases
  "nodeSelector" .Values.nodeSelector "tolerations" .Values.tolerations }}
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
{{- end }}

{{/* Fields of the operator's Pod besides those of every Pod: how it ends, and its place beside others of its kind. */}}
{{- define "imm-operator.placement" -}}
terminationGracePeriodSeconds: {{ int64 .Values.terminationGracePeriodSeconds }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
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

{{/* How an update replaces Pods. With the network of the node, a Pod beside the old one would need the same port: without a
     free node it would stay Pending, and the update would not end. Empty means the default of Kubernetes. */}}
{{- define "imm-operator.updateStrategy" -}}
{{- $oneByOne := dict "type" "RollingUpdate" "rollingUpdate" (dict "maxSurge" 0 "maxUnavailable" 1) -}}
{{- with default (.Values.hostNetwork | ternary $oneByOne dict) .Values.updateStrategy }}{{ toYaml . }}{{ end -}}
{{- end }}

{{/* Flags that say where the operator works: those of `run` and of `selftest`. */}}
{{- define "imm-operator.scopeFlags" -}}
- {{ printf "--lease-name=%s" (include "imm-operator.fullname" .) | quote }}
{{- with .Values.backups.namespace }}
- {{ printf "--backup-namespace=%s" . | quote }}
{{- end }}
- --tenancy-rules=/etc/imm-operator/tenancy/rules.yaml
{{- with .Values.watchNamespaces }}
- {{ printf "--watch-namespaces=%s" (join "," .) | quote }}
{{- end }}
{{- end }}

{{/* The volume with the tenancy rules: a directory, because a subPath mount would not be updated with the ConfigMap. */}}
{{- define "imm-operator.tenancyVolume" -}}
- name: tenancy
  configMap:
    name: {{ printf "%s-tenancy" (include "imm-operator.fullname" .) | quote }}
{{- end }}

{{/* The mount of that volume. */}}
{{- define "imm-operator.tenancyMount" -}}
- name: tenancy
  mountPath: /etc/imm-operator/tenancy
  readOnly: true
{{- end }}

{{/* Environment variables of the container; a variable of extraEnv replaces the chart's own of the same name. */}}
{{- define "imm-operator.environment" -}}
{{- $label := "metadata.labels['topology.kubernetes.io/region']" -}}
{{- $own := list
  (dict "name" "IMM_OPERATOR_NAMESPACE" "valueFrom" (dict "fieldRef" (dict "fieldPath" "metadata.namespace")))
  (dict "name" "IMM_OPERATOR_LEADER_NAME" "valueFrom" (dict "fieldRef" (dict "fieldPath" "metadata.name")))
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
