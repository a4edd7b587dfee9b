{{/* What the chart refuses besides what the schema does. */}}
{{- define "imm-operator.refusals" -}}
{{- include "imm-operator.sharedNamespaces" . -}}
{{- include "imm-operator.forms" . -}}
{{- include "imm-operator.identity" . -}}
{{- include "imm-operator.deletions" . -}}
{{- include "imm-operator.otherName" . -}}
{{- include "imm-operator.registry" . -}}
{{- include "imm-operator.firstObjects" . -}}
{{- include "imm-operator.podRefusals" . -}}
{{- include "imm-operator.ownSettings" . -}}
{{- include "imm-operator.flags" . -}}
{{- include "imm-operator.portRanges" . -}}
{{- include "imm-operator.scrapeTimes" . -}}
{{- include "imm-operator.metrics.rules.selector" . -}}
{{- include "imm-operator.metrics.rules.alertLabels" . -}}
{{- if and .Values.metrics.serviceMonitor.enabled .Values.metrics.podMonitor.enabled -}}
{{- fail "metrics.serviceMonitor excludes metrics.podMonitor: with both, every series would be scraped twice; disable one of them" -}}
{{- end -}}
{{- end }}

{{/* Refuses two entries of a list with the same key, of which the API server would keep one or refuse both. */}}
{{- define "imm-operator.duplicates" -}}
{{- $keys := list -}}
{{- range .Values.extraEnv -}}
{{- $keys = printf "extraEnv: there is a variable named %s already: remove one of them" .name | append $keys -}}
{{- end -}}
{{- range .Values.hostAliases -}}
{{- $keys = printf "hostAliases: there is an entry with ip %s already: write all hostnames into one" .ip | append $keys -}}
{{- end -}}
{{- range .Values.topologySpreadConstraints -}}
{{- $keys = printf "topologySpreadConstraints: there is a constraint with topologyKey %s and whenUnsatisfiable %s already: remove one of them" .topologyKey .whenUnsatisfiable | append $keys -}}
{{- end -}}
{{- $seen := dict -}}
{{- range $keys -}}
{{- if hasKey $seen . }}{{ fail . }}{{ end -}}
{{- $_ := set $seen . true -}}
{{- end -}}
{{- end }}

{{/* Refuses a registry in the repository, before which the default registry would be written. */}}
{{- define "imm-operator.registry" -}}
{{- if and (not .Values.image.registry) (not .Values.global.imageRegistry) (regexMatch `^[^/]*\.[^/]*/|^localhost/` .Values.image.repository) -}}
{{- $parts := regexSplit "/" .Values.image.repository 2 -}}
{{- fail (printf "image.repository %s names a registry: set image.registry=%s and image.repository=%s" .Values.image.repository (first $parts) (last $parts)) -}}
{{- end -}}
{{- end }}

{{/* Refuses namespaces in which many principals can write ConfigMaps and Leases, or which hold Secrets of the cluster. */}}
{{- define "imm-operator.sharedNamespaces" -}}
{{- $shared := list "default" "kube-system" "kube-public" "kube-node-lease" -}}
{{- if not .Values.allowSharedNamespace -}}
{{- range $what, $namespace := dict "the release" .Release.Namespace "backups.namespace" .Values.backups.namespace -}}
{{- if has $namespace $shared -}}
{{- fail (printf "%s must not be in namespace %s: a user who can write ConfigMaps there could change the tenancy rules or the backups; use a namespace of its own, such as imm-system, or set allowSharedNamespace=true if nobody else can write there" $what $namespace) -}}
{{- end -}}
{{- end -}}
{{- range .Values.secretAccess.namespaces -}}
{{- if has . $shared -}}
{{- fail (printf "secretAccess.namespaces must not have namespace %s: the operator could read every Secret there, also those of the cluster and of other teams; grant access to a single Secret by a Role of its own, or set allowSharedNamespace=true" .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Refuses a regular expression that does not compile; Prometheus has the syntax of Helm. The name is in the message. */}}
{{- define "imm-operator.metrics.rules.selector" -}}
{{- range $matcher := regexFindAll `\w+(=~|!~|!=|=)"([^"\\]|\\.)*"` .Values.metrics.rules.selector -1 -}}
{{- if regexMatch `^\w+[=!]~` $matcher -}}
{{- $selector := regexReplaceAll `^\w+[=!]~` $matcher "" | printf "[%s]" | fromJsonArray | first -}}
{{- $_ := mustRegexMatch $selector "" -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Refuses labels that the alerts set: one severity for all alerts would page for each, and the others keep releases apart. */}}
{{- define "imm-operator.metrics.rules.alertLabels" -}}
{{- range $label := list "severity" "namespace" "release" -}}
{{- if index $.Values.metrics.rules.alertLabels $label -}}
{{- fail (printf "metrics.rules.alertLabels.%s would replace the label that the chart sets for each alert: choose another name" $label) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Refuses grants and jobs in the release that brings their CRDs to the cluster: Helm looks up every kind before it creates
     anything. Only Helm with a cluster is refused; a tool that applies what is rendered can wait for the CRDs. */}}
{{- define "imm-operator.firstObjects" -}}
{{- if and .Release.IsInstall .Values.crds.enabled (not (.Capabilities.APIVersions.Has "immops.dev/v1alpha1")) -}}
{{- range .Values.extraObjects -}}
{{- if regexMatch `(?m)^apiVersion: *["']?immops\.dev/` (kindIs "string" . | ternary . (toYaml .)) -}}
{{- if lookup "v1" "Namespace" "" "kube-system" -}}
{{- fail "extraObjects has a grant or a job, and the cluster does not have their CRDs yet: install without them first, then add them with helm upgrade" -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Refuses volumes and mounts in the place of the chart's own. A mount above them works where the folder can be created in it:
     the kubelet does that in the volumes of its own objects, and the container runtime in those that can be written. */}}
{{- define "imm-operator.extraVolumesRefusals" -}}
{{- $own := list "tenancy" -}}
{{- if .Values.credentials.existingSecret }}{{ $own = append $own "credentials" }}{{ end -}}
{{- $names := $own -}}
{{- $readOnly := list -}}
{{- $created := $own -}}
{{- range .Values.extraVolumes -}}
{{- $source := omit . "name" | values | first -}}
{{- if or .image $source.readOnly }}{{ $readOnly = append $readOnly .name }}{{ end -}}
{{- if or .configMap .secret .projected .downwardAPI }}{{ $created = append $created .name }}{{ end -}}
{{- if has .name $names -}}
{{- fail (printf "extraVolumes: there is a volume named %s already: choose another name" .name) -}}
{{- end -}}
{{- $names = append $names .name -}}
{{- end -}}
{{- $paths := list -}}
{{- range .Values.extraVolumeMounts -}}
{{- $path := regexReplaceAll "/+" (printf "%s/" .mountPath) "/" -}}
{{- if eq $path "/" -}}
{{- fail "extraVolumeMounts: mountPath / hides the program of the image: choose another folder" -}}
{{- end -}}
{{- $mount := . -}}
{{- range $own -}}
{{- $folder := printf "/etc/imm-operator/%s/" . -}}
{{- if hasPrefix $folder $path -}}
{{- fail (printf "extraVolumeMounts: mountPath %s is the folder of the chart's own volume %s: choose another folder" $path .) -}}
{{- end -}}
{{- if and (hasPrefix $path $folder) (or $mount.readOnly (has $mount.name $readOnly)) (not (has $mount.name $created)) -}}
{{- fail (printf "extraVolumeMounts: mountPath %s is above the folder %s of the chart's own volume %s, which cannot be created in the read-only volume %s: choose another folder" $path $folder . $mount.name) -}}
{{- end -}}
{{- end -}}
{{- if has $path $paths -}}
{{- fail (printf "extraVolumeMounts: mountPath %s appears twice: choose another folder" $path) -}}
{{- end -}}
{{- $paths = append $paths $path -}}
{{- if and (eq (default "" .mountPropagation) "Bidirectional") (not (dig "privileged" false (default dict $.Values.securityContext))) -}}
{{- fail "extraVolumeMounts: mountPropagation Bidirectional needs securityContext.privileged true: write HostToContainer" -}}
{{- end -}}
{{- end -}}
{{- range .Values.extraVolumeMounts -}}
{{- if not (has .name $names) -}}
{{- fail (printf "extraVolumeMounts: there is no volume named %s, only %s: add it to extraVolumes, or correct the name" .name (join ", " $names)) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Refuses tolerations that contradict themselves. */}}
{{- define "imm-operator.tolerations" -}}
{{- range .Values.tolerations -}}
{{- if and (eq (default "" .operator) "Exists") .value -}}
{{- fail (printf "tolerations: operator Exists excludes value %s: remove the value, or set operator Equal" .value) -}}
{{- end -}}
{{- if and (not .key) (ne (default "" .operator) "Exists") -}}
{{- fail "tolerations: an entry without key needs operator Exists: set it, or name a key" -}}
{{- end -}}
{{- if and (hasKey . "tolerationSeconds") (ne (default "" .effect) "NoExecute") -}}
{{- fail "tolerations: tolerationSeconds needs effect NoExecute: set it, or remove tolerationSeconds" -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Refuses rights of the container that it could not use. */}}
{{- define "imm-operator.privileges" -}}
{{- $container := default dict .Values.securityContext -}}
{{- if eq (dig "allowPrivilegeEscalation" "" $container | toString) "false" -}}
{{- if dig "privileged" false $container -}}
{{- fail "securityContext.privileged true excludes securityContext.allowPrivilegeEscalation false: the operator needs neither, so remove privileged" -}}
{{- end -}}
{{- if has "CAP_SYS_ADMIN" (dig "capabilities" "add" list $container) -}}
{{- fail "securityContext.capabilities.add CAP_SYS_ADMIN excludes securityContext.allowPrivilegeEscalation false: the operator needs neither, so remove the capability" -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Refuses combinations that the API server or the kubelet refuses later. */}}
{{- define "imm-operator.podRefusals" -}}
{{- include "imm-operator.extraVolumesRefusals" . -}}
{{- include "imm-operator.duplicates" . -}}
{{- include "imm-operator.token" . -}}
{{- include "imm-operator.requests" . -}}
{{- include "imm-operator.tolerations" . -}}
{{- include "imm-operator.privileges" . -}}
{{- range $name := list "extraVolumes" "extraVolumeMounts" "extraEnv" "podSecurityContext" "securityContext" -}}
{{- include "imm-operator.parentFolders" (list $name (index $.Values $name)) -}}
{{- end -}}
{{- range .Values.topologySpreadConstraints -}}
{{- if and .minDomains (ne .whenUnsatisfiable "DoNotSchedule") -}}
{{- fail "topologySpreadConstraints: minDomains needs whenUnsatisfiable DoNotSchedule: set it, or remove minDomains" -}}
{{- end -}}
{{- end -}}
{{- if dig "claims" list (default dict .Values.resources) -}}
{{- fail "resources.claims needs resourceClaims of the Pod, which this chart does not set: remove resources.claims" -}}
{{- end -}}
{{- if and .Values.hostNetwork (eq (toString .Values.hostUsers) "false") -}}
{{- fail "hostNetwork true excludes hostUsers false: remove one of them" -}}
{{- end -}}
{{- if and (eq .Values.dnsPolicy "None") (not (dig "nameservers" list .Values.dnsConfig)) -}}
{{- fail "dnsPolicy None needs dnsConfig.nameservers: name at least one server" -}}
{{- end -}}
{{- $strategy := default dict .Values.updateStrategy -}}
{{- if and (eq (dig "type" "" $strategy) "Recreate") (hasKey $strategy "rollingUpdate") -}}
{{- fail "updateStrategy.type Recreate excludes updateStrategy.rollingUpdate: remove one of them" -}}
{{- end -}}
{{- $none := list "0" "0%" -}}
{{- if and (has (dig "rollingUpdate" "maxSurge" "" $strategy | toString) $none) (has (dig "rollingUpdate" "maxUnavailable" "" $strategy | toString) $none) -}}
{{- fail "updateStrategy.rollingUpdate.maxSurge 0 excludes maxUnavailable 0, because no Pod could be replaced: set one of them to 1" -}}
{{- end -}}
{{- $pod := default dict .Values.podSecurityContext -}}
{{- $container := default dict .Values.securityContext -}}
{{- $user := dig "runAsUser" (dig "runAsUser" "" $pod) $container | toString -}}
{{- if and (dig "runAsNonRoot" (dig "runAsNonRoot" false $pod) $container) (eq $user "0") -}}
{{- fail "runAsUser 0 contradicts runAsNonRoot true in podSecurityContext and securityContext: name another user, or leave it to the image" -}}
{{- end -}}
{{- /* In a network of its own, container runtimes let each user open these ports. */ -}}
{{- $kept := or (has "NET_BIND_SERVICE" (dig "capabilities" "add" list $container)) (not (has "ALL" (dig "capabilities" "drop" list $container))) -}}
{{- if and .Values.hostNetwork (lt (int .Values.adminPort) 1024) (not (and (eq $user "0") $kept)) -}}
{{- fail (printf "hostNetwork true excludes adminPort %d, because ports below 1024 of the node need the user root and the capability NET_BIND_SERVICE: set a port from 1024 on" (int .Values.adminPort)) -}}
{{- end -}}
{{- end }}

{{/* Refuses a path with "..", as the API server does: a list of the name of a value and the value. What only drivers read is
     left alone. */}}
{{- define "imm-operator.parentFolders" -}}
{{- $name := index . 0 -}}
{{- $value := index . 1 -}}
{{- range $member, $inner := omit (kindIs "map" $value | ternary $value dict) "volumeAttributes" "metadata" "userAnnotations" -}}
{{- if and (kindIs "string" $inner) (regexMatch `[pP]ath(Expr)?$|^localhostProfile$` $member) (regexMatch `(^|/)\.\.(/|$)` $inner) -}}
{{- fail (printf "%s: %s %s has a part ..: write the path without it" $name $member $inner) -}}
{{- end -}}
{{- include "imm-operator.parentFolders" (list $name $inner) -}}
{{- end -}}
{{- range kindIs "slice" $value | ternary $value list }}{{ include "imm-operator.parentFolders" (list $name .) }}{{ end -}}
{{- end }}

{{/* Refuses a Pod without a token. It can come from a volume, in more than one way, or from the cluster that KUBECONFIG names. */}}
{{- define "imm-operator.token" -}}
{{- $variable := include "imm-operator.setsVariable" (list . "KUBECONFIG") -}}
{{- $mounted := or .Values.automountServiceAccountToken .Values.extraEnvFrom .Values.extraVolumeMounts $variable -}}
{{- if not $mounted -}}
{{- fail "automountServiceAccountToken false needs a token from elsewhere: mount a projected volume with serviceAccountToken, the CA and the namespace at /var/run/secrets/kubernetes.io/serviceaccount with extraVolumes and extraVolumeMounts, or set it to true" -}}
{{- end -}}
{{- end }}

{{/* Refuses a request above its limit. */}}
{{- define "imm-operator.requests" -}}
{{- range $resource, $amount := dig "requests" dict (default dict .Values.resources) -}}
{{- $request := toString $amount -}}
{{- $limit := dig "limits" $resource "" $.Values.resources | toString -}}
{{- if and (ne $limit "") (gt (include "imm-operator.amount" $request | float64) (include "imm-operator.amount" $limit | float64)) -}}
{{- fail (printf "resources.requests.%s %s is above resources.limits.%s %s: lower it, or raise the limit" $resource $request $resource $limit) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* A quantity of Kubernetes as a number, such as 256Mi. */}}
{{- define "imm-operator.amount" -}}
{{- $units := dict "m" 0.001 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "P" 1e15 "E" 1e18
  "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 "Pi" 1125899906842624 "Ei" 1152921504606846976 -}}
{{- $unit := regexFind "[A-Za-z]+$" . -}}
{{- trimSuffix $unit . | float64 | mulf (hasKey $units $unit | ternary (get $units $unit) 1) -}}
{{- end }}

{{/* Refuses a scrape that may take longer than the time between scrapes, as the Prometheus operator does, and with the alerts
     scrapes of which fewer than two are within the five minutes of their increase(). */}}
{{- define "imm-operator.scrapeTimes" -}}
{{- range $name := list "serviceMonitor" "podMonitor" -}}
{{- $block := index $.Values.metrics $name -}}
{{- if and $.Values.metrics.rules.enabled $block.enabled $block.interval (gt (include "imm-operator.milliseconds" $block.interval | int64) 120000) -}}
{{- fail (printf "metrics.%s.interval %s is above 2m: alerts compare the samples of five minutes, and would miss events; lower it, or set metrics.rules.enabled=false" $name $block.interval) -}}
{{- end -}}
{{- if and $block.enabled $block.interval $block.scrapeTimeout -}}
{{- if gt (include "imm-operator.milliseconds" $block.scrapeTimeout | int64) (include "imm-operator.milliseconds" $block.interval | int64) -}}
{{- fail (printf "metrics.%s.scrapeTimeout %s is above metrics.%s.interval %s: lower it, or raise the interval" $name $block.scrapeTimeout $name $block.interval) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* A duration of Prometheus in milliseconds. */}}
{{- define "imm-operator.milliseconds" -}}
{{- $units := dict "ms" 1 "s" 1000 "m" 60000 "h" 3600000 "d" 86400000 "w" 604800000 "y" 31536000000 -}}
{{- $sum := 0 -}}
{{- range regexFindAll "[0-9]+[a-z]+" . -1 -}}
{{- $sum = add $sum (mul (regexFind "^[0-9]+" .) (index $units (regexFind "[a-z]+$" .))) -}}
{{- end -}}
{{- $sum -}}
{{- end }}

{{/* The Deployments of this release in the cluster, as a list in JSON. Listing Deployments of the release's namespace is
     enough, and a release can have given its Deployment another name than the values now do. */}}
{{- define "imm-operator.deployed" -}}
{{- $ours := list -}}
{{- /* The first install changes nothing, and may lack the permission to list Deployments. */ -}}
{{- $all := dict -}}
{{- if .Release.IsUpgrade }}{{ $all = lookup "apps/v1" "Deployment" .Release.Namespace "" }}{{ end -}}
{{- range dig "items" list $all -}}
{{- /* A parent chart can have this one under several aliases, and Deployments of its own. */ -}}
{{- $alias := dig "metadata" "annotations" "immops.dev/chart-name" "" . -}}
{{- if and (eq (dig "metadata" "annotations" "meta.helm.sh/release-name" "" .) $.Release.Name) (eq $alias $.Chart.Name) -}}
{{- $ours = append $ours . -}}
{{- end -}}
{{- end -}}
{{- toJson $ours -}}
{{- end }}

{{/* Refuses an upgrade that would delete the CRDs, and with them every grant and job, without asking for that. Helm decides
     by what it deployed before, and the Deployment of a release without crds.keep has a label for that. */}}
{{- define "imm-operator.deletions" -}}
{{- if not (or .Values.crds.enabled .Values.crds.allowDeletion) -}}
{{- if not .Values.crds.keep -}}
{{- fail "crds.enabled=false with crds.keep=false would delete the CRDs of this release with every grant and job: set crds.keep=true, or crds.allowDeletion=true to delete them" -}}
{{- end -}}
{{- range include "imm-operator.deployed" . | fromJsonArray -}}
{{- if eq (dig "metadata" "labels" "immops.dev/crds" "" .) "deletable" -}}
{{- fail "crds.enabled=false would delete the CRDs of this release with every grant and job, because it was deployed with crds.keep=false: upgrade with crds.keep=true first, or set crds.allowDeletion=true to delete them" -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Refuses another name in an upgrade while the Deployment of the old name runs: Helm creates the new one first, which has
     a Lease of its own, so that two leaders would work until the old one has ended. */}}
{{- define "imm-operator.otherName" -}}
{{- $name := include "imm-operator.fullname" . -}}
{{- range include "imm-operator.deployed" . | fromJsonArray -}}
{{- $old := .metadata.name -}}
{{- $runs := or (ne (dig "spec" "replicas" 1 . | int) 0) (ne (dig "status" "replicas" 0 . | int) 0) -}}
{{- if and (ne $old $name) $runs -}}
{{- fail (printf "this release runs as Deployment %s, and as %s it would have another Lease: both would work at once, and IMM calls would be billed twice. Keep the name (fullnameOverride, nameOverride), or stop the operator first with `kubectl scale deployment %s -n %s --replicas=0`, wait until its Pods are gone, and upgrade then" $old $name $old $.Release.Namespace) -}}
{{- end -}}
{{- end -}}
{{- end }}
