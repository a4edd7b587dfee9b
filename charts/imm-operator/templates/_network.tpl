{{/* Port of a URL: the one in it, or that of its scheme. */}}
{{- define "imm-operator.portOf" -}}
{{- $authority := regexFind "^https?://[^/?#]*" . -}}
{{- $port := regexFind ":[0-9]+$" $authority | trimPrefix ":" -}}
{{- default (hasPrefix "http:" . | ternary "80" "443") $port -}}
{{- end }}

{{/* The value that extraEnv gives to a variable: a list of the context and the name. Empty if it takes it from an object. */}}
{{- define "imm-operator.valueOfVariable" -}}
{{- $name := index . 1 -}}
{{- $value := "" -}}
{{- range (index . 0).Values.extraEnv }}{{ if eq .name $name }}{{ $value = default "" .value }}{{ end }}{{ end -}}
{{- $value -}}
{{- end }}

{{/* The source of the operator's identity as the program decides it: the last flag counts, and a flag wins over a variable. */}}
{{- define "imm-operator.ownIdentity" -}}
{{- $source := default (include "imm-operator.valueOfVariable" (list . "IMM_OPERATOR_OWN_IDENTITY")) .Values.credentials.source -}}
{{- $before := "" -}}
{{- range .Values.extraArgs -}}
{{- if hasPrefix "--own-identity=" . }}{{ $source = trimPrefix "--own-identity=" . }}{{ end -}}
{{- if eq $before "--own-identity" }}{{ $source = . }}{{ end -}}
{{- $before = . -}}
{{- end -}}
{{- $source -}}
{{- end }}

{{/* Ports of Alibaba Cloud, of the URLs in the values, and of the API server, as a list in JSON. */}}
{{- define "imm-operator.egressPorts" -}}
{{- $ports := list 443 -}}
{{- $uri := default .Values.credentials.uri (include "imm-operator.valueOfVariable" (list . "ALIBABA_CLOUD_CREDENTIALS_URI")) -}}
{{- $regions := .Values.endpoints.regions -}}
{{- range concat (list .Values.endpoints.oss .Values.endpoints.imm .Values.endpoints.sts)
  (values $regions.oss | sortAlpha) (values $regions.imm | sortAlpha) (values $regions.sts | sortAlpha)
  (list (hasPrefix "https:" $uri | ternary $uri "")) -}}
{{- if . }}{{ $ports = include "imm-operator.portOf" . | int | append $ports }}{{ end -}}
{{- end -}}
{{- range .Values.networkPolicy.apiServerPorts }}{{ $ports = append $ports (int .) }}{{ end -}}
{{- uniq $ports | toJson -}}
{{- end }}

{{/* Values that can name an address which the NetworkPolicy does not allow, because it does not follow from them. */}}
{{- define "imm-operator.unknownAddresses" -}}
{{- $found := list -}}
{{- $variables := list "IMM_OPERATOR_OSS_ENDPOINT" "IMM_OPERATOR_IMM_ENDPOINT" "IMM_OPERATOR_STS_ENDPOINT" "ALIBABA_CLOUD_STS_ENDPOINT"
  "HTTPS_PROXY" "HTTP_PROXY" "ALL_PROXY" "https_proxy" "http_proxy" "all_proxy" -}}
{{- range .Values.extraEnv -}}
{{- if or (has .name $variables) (and .valueFrom (has .name (list "IMM_OPERATOR_OWN_IDENTITY" "ALIBABA_CLOUD_CREDENTIALS_URI"))) -}}
{{- $found = append $found (printf "%s in extraEnv" .name) -}}
{{- end -}}
{{- end -}}
{{- range .Values.extraArgs -}}
{{- with regexFind "^--(oss|imm|sts)-endpoint" . }}{{ $found = append $found (printf "%s in extraArgs" .) }}{{ end -}}
{{- end -}}
{{- if .Values.extraEnvFrom }}{{ $found = append $found "extraEnvFrom" }}{{ end -}}
{{- uniq $found | join ", " -}}
{{- end }}
