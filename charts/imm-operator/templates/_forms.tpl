{{/* Refuses addresses that are none. The schema could do so too, but its message would be a regular expression of hundreds of
     characters. */}}
{{- define "imm-operator.forms" -}}
{{- $byte := `(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])` -}}
{{- $four := printf `%s(\.%s){3}` $byte $byte -}}
{{- $some := `([0-9A-Fa-f]{1,4}(:[0-9A-Fa-f]{1,4}){0,6})?` -}}
{{- $six := printf `(([0-9A-Fa-f]{1,4}:){7}[0-9A-Fa-f]{1,4}|%s::%s)` $some $some -}}
{{- $port := `(:(6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[1-9][0-9]{0,3}))?` -}}
{{- $name := `[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?` -}}
{{- $registry := printf `(\[[0-9a-f:]+\]|%s(\.%s)*)` $name $name -}}
{{- $host := $registry | replace "0-9-]" "0-9_-]" | replace "0-9a-f" "0-9A-Fa-f" -}}
{{- $forms := dict
  "URL of an endpoint" (list (printf `^https?://%s%s/?$` $host $port) "https://HOST or https://HOST:PORT, without a user, a path or a query; HOST can contain {region}")
  "credentials URI" (list (printf `^(https://%s|http://(127\.0\.0\.1|localhost|\[::1\]))%s([/?][^\s#]*)?$` $host $port) "https://HOST/PATH, or an http URL of the Pod itself such as http://127.0.0.1:6666/")
  "registry" (list (printf `^%s%s(/[a-z0-9]([a-z0-9._-]*[a-z0-9])?)*$` $registry $port) "HOST, HOST:PORT or HOST/FOLDER, without a scheme and without a trailing slash")
  "IP address" (list (printf `^(%s|%s)$` $four $six) "one such as 10.0.0.1 or fd00::1")
  "network" (list (printf `^(%s/([12]?[0-9]|3[0-2])|%s/([1-9]?[0-9]|1[01][0-9]|12[0-8]))$` $four $six) "ADDRESS/BITS, such as 10.0.0.0/8 or fd00::/8") -}}
{{- range include "imm-operator.addresses" . | fromJsonArray -}}
{{- $form := get $forms .form -}}
{{- if not (regexMatch (first $form) (replace "{region}" "region" .value)) -}}
{{- fail (printf "%s %q is no %s: write %s" .name .value .form (last $form)) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* The values that are addresses, as a list in JSON: the name, the value, and the form that it must have. */}}
{{- define "imm-operator.addresses" -}}
{{- $found := list -}}
{{- range $service := list "oss" "imm" "sts" -}}
{{- with index $.Values.endpoints $service -}}
{{- $found = append $found (dict "form" "URL of an endpoint" "name" (printf "endpoints.%s" $service) "value" .) -}}
{{- end -}}
{{- range $region, $url := index $.Values.endpoints.regions $service -}}
{{- $found = append $found (dict "form" "URL of an endpoint" "name" (printf "endpoints.regions.%s.%s" $service $region) "value" $url) -}}
{{- end -}}
{{- end -}}
{{- with .Values.credentials.uri -}}
{{- $found = append $found (dict "form" "credentials URI" "name" "credentials.uri" "value" .) -}}
{{- end -}}
{{- with .Values.image.registry -}}
{{- $found = append $found (dict "form" "registry" "name" "image.registry" "value" .) -}}
{{- end -}}
{{- with .Values.global.imageRegistry -}}
{{- $found = append $found (dict "form" "registry" "name" "global.imageRegistry" "value" (trimSuffix "/" .)) -}}
{{- end -}}
{{- range $number, $alias := .Values.hostAliases -}}
{{- $found = append $found (dict "form" "IP address" "name" (printf "hostAliases[%d].ip" $number) "value" $alias.ip) -}}
{{- end -}}
{{- range $number, $server := .Values.dnsConfig.nameservers -}}
{{- $found = append $found (dict "form" "IP address" "name" (printf "dnsConfig.nameservers[%d]" $number) "value" $server) -}}
{{- end -}}
{{- $peers := dict "networkPolicy.metricsFrom" .Values.networkPolicy.metricsFrom -}}
{{- range $rules, $member := dict "extraIngress" "from" "extraEgress" "to" -}}
{{- range $number, $rule := index $.Values.networkPolicy $rules -}}
{{- $_ := set $peers (printf "networkPolicy.%s[%d].%s" $rules $number $member) (dig $member list $rule) -}}
{{- end -}}
{{- end -}}
{{- range $place, $all := $peers -}}
{{- range $number, $peer := $all -}}
{{- with $peer.ipBlock -}}
{{- $found = append $found (dict "form" "network" "name" (printf "%s[%d].ipBlock.cidr" $place $number) "value" .cidr) -}}
{{- range .except -}}
{{- $found = append $found (dict "form" "network" "name" (printf "%s[%d].ipBlock.except" $place $number) "value" .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $found -}}
{{- end }}
