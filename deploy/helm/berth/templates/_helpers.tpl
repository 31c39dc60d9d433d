{{/* The names of resources. */}}
{{- define "berth.name" -}}
{{- .Values.fullnameOverride | default .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end }}

{{- define "berth.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (ternary (include "berth.name" .) "default" .Values.serviceAccount.create) -}}
{{- end }}

{{/* The labels that select pods; called with (list $ COMPONENT). */}}
{{- define "berth.selector" -}}
app.kubernetes.io/name: berth
app.kubernetes.io/instance: {{ (first .).Release.Name }}
app.kubernetes.io/component: {{ last . }}
{{- end }}

{{- define "berth.labels" -}}
{{ include "berth.selector" . }}
app.kubernetes.io/version: {{ (first .).Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ (first .).Release.Service }}
helm.sh/chart: {{ printf "%s-%s" (first .).Chart.Name (first .).Chart.Version }}
{{- end }}

{{- define "berth.image" -}}
{{- with .Values.image -}}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end -}}
{{- end }}

{{/* "true" if pods serve through an Envoy of their own on port 8080. */}}
{{- define "berth.podServesRest" -}}
{{- if has .Values.envoy.mode (list "up" "sidecar") }}true{{ end -}}
{{- end }}

{{/* "true" if the service itself uses TLS, on its gRPC port. */}}
{{- define "berth.grpcUsesTls" -}}
{{- if and (or .Values.tls.secretName .Values.config.tls) (has .Values.envoy.mode (list "up" "none")) }}true{{ end -}}
{{- end }}

{{/* "true" if the database is SQLite or content is in a folder. */}}
{{- define "berth.needsVolume" -}}
{{- $store := dig "store" "url" "" .Values.config | default "sqlite:" -}}
{{- $blobs := dig "blobs" "url" "" .Values.config | default "file:" -}}
{{- if or (hasPrefix "sqlite:" $store) (hasPrefix "file:" $blobs) }}true{{ end -}}
{{- end }}

{{/* "true" if there can be more than one pod. */}}
{{- define "berth.isReplicated" -}}
{{- if or .Values.autoscaling.enabled (gt (int .Values.replicas) 1) }}true{{ end -}}
{{- end }}

{{- define "berth.certificate" -}}
certificate: /etc/berth-tls/tls.crt
key: /etc/berth-tls/tls.key
{{- end }}

{{/* The configuration of Berth. */}}
{{- define "berth.config" -}}
{{- $host := .Values.bindAddress -}}
{{- $hops := int .Values.envoy.trustedHops -}}
{{- if eq .Values.envoy.mode "edge" }}{{ $hops = add $hops 1 }}{{ end -}}
{{- $listen := dict "grpc" (printf "%s:50051" $host) "rest" (printf "%s:8080" $host) "allow_plaintext" true "trusted_hops" $hops -}}
{{- if .Values.metrics.enabled }}{{ $_ := set $listen "metrics" (printf "%s:9464" $host) }}{{ end -}}
{{- $config := dict "listen" $listen "data_dir" "/data/berth" -}}
{{- if and .Values.tls.secretName (include "berth.grpcUsesTls" .) }}
{{- $_ := set $config "tls" (include "berth.certificate" . | fromYaml) }}
{{- end -}}
{{- toYaml (mergeOverwrite $config (deepCopy .Values.config)) -}}
{{- end }}

{{- define "berth.restricted" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* What all pods have in common; called with (list $ COMPONENT). */}}
{{- define "berth.pod" -}}
{{- $root := first . -}}
{{- $component := last . -}}
{{- with $root -}}
automountServiceAccountToken: false
# Its variables begin with BERTH_, and Berth refuses settings that it does not know.
enableServiceLinks: false
securityContext: {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
topologySpreadConstraints:
{{- if .Values.topologySpreadConstraints }}
  {{- toYaml .Values.topologySpreadConstraints | nindent 2 }}
{{- else }}
  {{- range $key := list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - topologyKey: {{ $key }}
    maxSkew: 1
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "berth.selector" (list $root $component) | nindent 8 }}
    matchLabelKeys: [pod-template-hash]
  {{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* The volume of the certificate, if there is one. */}}
{{- define "berth.certificateVolume" -}}
{{- with .Values.tls.secretName -}}
- name: tls
  secret: {secretName: {{ . }}, defaultMode: 0440}
{{- end }}
{{- end }}
