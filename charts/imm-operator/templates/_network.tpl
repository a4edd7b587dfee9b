{{/* Port of a URL: the one in it, or that of its scheme. */}}
{{- define "imm-operator.portOf" -}}
{{- $authority := regexFind "^https?://[^/?#]*" . -}}
{{- $port := regexFind ":[0-9]+$" $authority | trimPrefix ":" -}}
{{- default (hasPrefix "http:" . | ternary "80" "443") $port -}}
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
{{- if or (has .name $variables) (and .valueFrom (eq .name "ALIBABA_CLOUD_CREDENTIALS_URI")) -}}
{{- $found = append $found (printf "%s in extraEnv" .name) -}}
{{- end -}}
{{- end -}}
{{- if .Values.extraEnvFrom }}{{ $found = append $found "extraEnvFrom" }}{{ end -}}
{{- uniq $found | join ", " -}}
{{- end }}

{{/* The RAM role of the operator's ServiceAccount for RRSA. Empty if none is known: an account of others says nothing. */}}
{{- define "imm-operator.rrsaRole" -}}
{{- $annotation := get .Values.serviceAccount.annotations "pod-identity.alibabacloud.com/role-name" -}}
{{- if .Values.serviceAccount.create }}{{ default $annotation .Values.rrsa.roleName }}{{ end -}}
{{- end }}

{{/* Whether the operator needs its region, for internal names or for an endpoint of STS by region, and cannot find it out, so
     that it ends at its start. The region comes from the value, ACK's webhook (RRSA), the Pod's label, which Kubernetes sets
     since 1.35, or the metadata service (ecs). Empty means no, or unknown. */}}
{{- define "imm-operator.missingRegion" -}}
{{- $label := or (semverCompare ">=1.35.0-0" .Capabilities.KubeVersion.Version) (hasKey .Values.podLabels "topology.kubernetes.io/region") -}}
{{- $identity := or (has .Values.credentials.source (list "rrsa" "ecs")) (include "imm-operator.rrsaRole" .) -}}
{{- $variable := .Values.extraEnvFrom -}}
{{- range list "IMM_OPERATOR_REGION" "IMM_OPERATOR_POD_REGION" "ALIBABA_CLOUD_STS_REGION" -}}
{{- $variable = or $variable (include "imm-operator.setsVariable" (list $ .)) -}}
{{- end -}}
{{- $sts := or .Values.endpoints.regions.sts (contains "{region}" .Values.endpoints.sts) -}}
{{- if and (or (eq .Values.network "internal") $sts) (not (or .Values.region $label $identity $variable)) -}}
yes
{{- end -}}
{{- end }}

{{/* Refuses a range of ports that ends before it starts, which a schema cannot compare. */}}
{{- define "imm-operator.portRanges" -}}
{{- range concat .Values.networkPolicy.extraIngress .Values.networkPolicy.extraEgress -}}
{{- range dig "ports" list . -}}
{{- if and .endPort (lt (int .endPort) (int .port)) -}}
{{- fail (printf "networkPolicy: endPort %d is below port %d: exchange them, or correct one" (int .endPort) (int .port)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}
