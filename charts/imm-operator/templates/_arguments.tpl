{{/* Arguments and variables of the container: what extraArgs and extraEnv may hold, and what they say. */}}

{{/* Refuses each flag that a value sets, and what Roles, probes and mounts follow from: the last of several equal flags
     counts, so that the schema would judge a value that is not used, and the operator would ask for what it is not given. */}}
{{- define "imm-operator.ownSettings" -}}
{{- $settings := dict
  "--lease-name" "the lease has the full name of the release: set fullnameOverride"
  "--namespace" "it is the namespace of the release: install it there with helm --namespace"
  "--backup-namespace" "set backups.namespace"
  "--watch-namespaces" "set watchNamespaces"
  "--tenancy-rules" "set tenancy"
  "--admin-address" "set adminPort"
  "--no-leader-election" "two Pods would write at once, during each update at least: remove it"
  "--own-identity" "set credentials.source"
  "--log-level" "set logging.level"
  "--log-format" "set logging.format" -}}
{{- if .Values.credentials.existingSecret -}}
{{- $_ := set $settings "--credentials-folder" "credentials.existingSecret sets it, so remove one of them" -}}
{{- end -}}
{{- /* A variable can take these from an object, such as a ConfigMap with the region of the cluster. */ -}}
{{- $fromObjects := dict "--network" "set network" "--region" "set region" -}}
{{- range list "oss" "imm" "sts" -}}
{{- $_ := set $fromObjects (printf "--%s-endpoint" .) (printf "set endpoints.%s or endpoints.regions.%s" . .) -}}
{{- end -}}
{{- /* The chart sets its variable to the Pod's label, and extraEnv can replace that. */ -}}
{{- $asArguments := merge (dict "--pod-region" "set region") $settings $fromObjects -}}
{{- range .Values.extraArgs -}}
{{- $flag := regexFind "^[^=]*" . -}}
{{- /* Another address with the port of the chart is no contradiction. */ -}}
{{- $samePort := regexMatch (printf "^--admin-address=.*:%d$" (int $.Values.adminPort)) . -}}
{{- if regexMatch `^--admin-address=(127\.|localhost:|\[[0:]*:0*1\]|\[::ffff:127\.)` . -}}
{{- fail (printf "extraArgs: %s cannot be reached by the probes, which the kubelet sends to the address of the Pod: remove it, or write --admin-address=0.0.0.0:%d" . (int $.Values.adminPort)) -}}
{{- end -}}
{{- with $samePort | ternary "" (get $asArguments $flag) -}}
{{- fail (printf "extraArgs: %s cannot be set here: %s" $flag .) -}}
{{- end -}}
{{- end -}}
{{- range .Values.extraEnv -}}
{{- $name := .name -}}
{{- $flag := regexReplaceAll "^IMM_OPERATOR_" $name "--" | lower | replace "_" "-" -}}
{{- with get (empty .valueFrom | ternary (merge (dict) $settings $fromObjects) $settings) $flag -}}
{{- fail (printf "extraEnv: %s cannot be set here: %s" $name .) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Refuses arguments with which `imm-operator run` ends at once: of each that is no flag, and of each flag without its value. */}}
{{- define "imm-operator.flags" -}}
{{- $known := list "--admin-address" "--oss-endpoint" "--imm-endpoint" "--sts-endpoint" "--network" "--region" "--own-identity"
  "--credentials-folder" "--namespace" "--lease-name" "--backup-namespace" "--tenancy-rules" "--watch-namespaces"
  "--no-leader-election" "--leader-name" "--log-format" "--log-level" -}}
{{- $waiting := "" -}}
{{- range .Values.extraArgs -}}
{{- $flag := regexFind "^[^=]*" . -}}
{{- if and $waiting (not (hasPrefix "-" .)) -}}
{{- $waiting = "" -}}
{{- else if $waiting -}}
{{- fail (printf "extraArgs: %s has no value: write %s=VALUE" $waiting $waiting) -}}
{{- else if not (has $flag $known) -}}
{{- fail (printf "extraArgs: %s is no flag of `imm-operator run`, which is the command of the Pod: correct or remove it; `imm-operator run --help` lists the flags" .) -}}
{{- else if not (contains "=" .) -}}
{{- $waiting = $flag -}}
{{- end -}}
{{- end -}}
{{- with $waiting -}}
{{- fail (printf "extraArgs: %s has no value: write %s=VALUE" . .) -}}
{{- end -}}
{{- end }}

{{/* Whether extraEnv sets a variable: a list of the context and the name of the variable. */}}
{{- define "imm-operator.setsVariable" -}}
{{- $name := index . 1 -}}
{{- range (index . 0).Values.extraEnv }}{{ if eq .name $name }}yes{{ end }}{{ end -}}
{{- end }}

{{/* The value that extraEnv gives to a variable: a list of the context and the name. Empty if it takes it from an object. */}}
{{- define "imm-operator.valueOfVariable" -}}
{{- $name := index . 1 -}}
{{- $value := "" -}}
{{- range (index . 0).Values.extraEnv }}{{ if eq .name $name }}{{ $value = default "" .value }}{{ end }}{{ end -}}
{{- $value -}}
{{- end }}
