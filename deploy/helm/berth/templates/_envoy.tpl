{{/* The settings that concern Envoy. They name no secrets, because its containers have none. */}}
{{- define "berth.envoySettings" -}}
{{- $listen := dict "rest" (printf "%s:8080" .Values.bindAddress) "trusted_hops" .Values.envoy.trustedHops -}}
{{- if dig "listen" "ipv6_only" false .Values.config }}{{ $_ := set $listen "ipv6_only" true }}{{ end -}}
{{- $settings := dict "listen" $listen -}}
{{- with .Values.config.cors }}{{ $_ := set $settings "cors" . }}{{ end -}}
{{- with .Values.config.rest }}{{ $_ := set $settings "rest" . }}{{ end -}}
{{- if .Values.tls.secretName }}{{ $_ := set $settings "tls" (include "berth.certificate" . | fromYaml) }}{{ end -}}
{{- toYaml $settings -}}
{{- end }}

{{/* A container that writes Envoy's configuration with the image of Berth; called with (list $ ADDRESS-OF-SERVICE). */}}
{{- define "berth.envoyConfig" -}}
{{- $service := last . -}}
{{- with first . -}}
name: envoy-config
image: {{ include "berth.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
command: [sh, -c]
args:
  - >-
    exec berth envoy-config --config /etc/berth/envoy.yaml --service {{ $service }} --admin-port 9901
    --secrets /etc/envoy/secrets > /etc/envoy/envoy.yaml
securityContext: {{- include "berth.restricted" . | nindent 2 }}
resources:
  requests: {cpu: 100m, memory: 128Mi}
  limits: {memory: 256Mi}
volumeMounts:
  - {name: config, mountPath: /etc/berth, readOnly: true}
  - {name: envoy, mountPath: /etc/envoy}
{{- end }}
{{- end }}

{{/* A container with Envoy. */}}
{{- define "berth.envoy" -}}
name: envoy
image: {{ .Values.envoy.image | default (include "berth.image" .) }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
command: [envoy]
args:
  - --config-path
  - /etc/envoy/envoy.yaml
  - --disable-hot-restart
  - --drain-strategy
  - immediate
  - --log-level
  - warning
  - --concurrency
  - {{ .Values.envoy.concurrency | quote }}
ports:
  - {name: http, containerPort: 8080}
securityContext: {{- include "berth.restricted" . | nindent 2 }}
resources: {{- toYaml .Values.envoy.resources | nindent 2 }}
readinessProbe:
  tcpSocket: {port: http}
  periodSeconds: 5
volumeMounts:
  - {name: envoy, mountPath: /etc/envoy, readOnly: true}
  {{- if .Values.tls.secretName }}
  - {name: tls, mountPath: /etc/berth-tls, readOnly: true}
  {{- end }}
{{- end }}

{{/* The command that drains Envoy before its pod stops. */}}
{{- define "berth.drain" -}}
exec: {command: [python, /opt/berth/drain.py, "127.0.0.1:9901", {{ .Values.preStopSeconds | quote }}]}
{{- end }}

{{/* The volume of Envoy's configuration. */}}
{{- define "berth.envoyVolume" -}}
- name: envoy
  emptyDir: {sizeLimit: 16Mi}
{{- end }}
