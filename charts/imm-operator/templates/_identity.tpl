{{/* What names the folder with the operator's own keys: the value, the flag or the variable. Empty means nothing that the
     chart can see. */}}
{{- define "imm-operator.credentialsFolder" -}}
{{- $flag := false -}}
{{- range .Values.extraArgs }}{{ if regexMatch "^--credentials-folder(=|$)" . }}{{ $flag = true }}{{ end }}{{ end -}}
{{- if .Values.credentials.existingSecret -}}
credentials.existingSecret
{{- else if $flag -}}
--credentials-folder in extraArgs
{{- else if include "imm-operator.setsVariable" (list . "IMM_OPERATOR_CREDENTIALS_FOLDER") -}}
IMM_OPERATOR_CREDENTIALS_FOLDER in extraEnv
{{- end -}}
{{- end }}

{{/* Refuses an identity that is configured twice or incompletely, as the operator does at its start. */}}
{{- define "imm-operator.identity" -}}
{{- $identity := .Values.credentials -}}
{{- $folder := include "imm-operator.credentialsFolder" . -}}
{{- if and $folder (not (has $identity.source (list "" "folder"))) -}}
{{- fail (printf "credentials.source %s excludes %s: remove one of them" $identity.source $folder) -}}
{{- end -}}
{{- if and (eq $identity.source "folder") (not $folder) (not .Values.extraEnvFrom) -}}
{{- fail "credentials.source folder needs credentials.existingSecret: name a Secret" -}}
{{- end -}}
{{- if and (eq $identity.source "uri") (not $identity.uri) (not .Values.extraEnvFrom) (not (include "imm-operator.setsVariable" (list . "ALIBABA_CLOUD_CREDENTIALS_URI"))) -}}
{{- fail "credentials.source uri needs credentials.uri: set it, or ALIBABA_CLOUD_CREDENTIALS_URI in extraEnv" -}}
{{- end -}}
{{- with .Values.rrsa.roleName -}}
{{- $annotation := get $.Values.serviceAccount.annotations "pod-identity.alibabacloud.com/role-name" -}}
{{- if not $.Values.serviceAccount.create -}}
{{- fail (printf "rrsa.roleName needs serviceAccount.create true: set annotation pod-identity.alibabacloud.com/role-name=%s of ServiceAccount %s yourself, and remove rrsa.roleName" . $.Values.serviceAccount.name) -}}
{{- end -}}
{{- if and $annotation (ne $annotation .) -}}
{{- fail (printf "rrsa.roleName %s contradicts role %s in serviceAccount.annotations: remove one of them" . $annotation) -}}
{{- end -}}
{{- if or $folder (not (has $identity.source (list "" "rrsa"))) -}}
{{- fail (printf "rrsa.roleName excludes another identity (%s): remove one of them" (default (printf "credentials.source %s" $identity.source) $folder)) -}}
{{- end -}}
{{- end -}}
{{- range $value, $source := dict "ecsRole" "ecs" "uri" "uri" -}}
{{- if and (index $identity $value) (ne $identity.source $source) -}}
{{- fail (printf "credentials.%s needs credentials.source %s: set it, or remove credentials.%s" $value $source $value) -}}
{{- end -}}
{{- end -}}
{{- end }}
