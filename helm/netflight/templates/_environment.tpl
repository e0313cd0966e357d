{{/* Environment of every container; NETFLIGHT_... are the settings of runtime/settings.py. */}}
{{- define "netflight.env" -}}
- name: HOME
  value: /tmp
- name: NETFLIGHT_STATE
  value: /var/lib/netflight
- name: NETFLIGHT_CACHE
  value: /tmp/netflight
- name: NETFLIGHT_NAMESPACE
  value: {{ .Values.namespace | quote }}
{{- if not (kindIs "invalid" .Values.localNetworks) }}
- name: NETFLIGHT_LOCAL_NETWORKS
  value: {{ toJson .Values.localNetworks | quote }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Helm reads every number as a float, and would write 10000000 as 1e+07. */}}
{{- define "netflight.kafkaOptions" -}}
{{- $options := dict -}}
{{- range $name, $value := .options -}}
{{- $whole := and (kindIs "float64" $value) (eq (toString $value) (toString (floor $value))) -}}
{{- $_ := set $options $name (ternary (int64 $value | toString) (toString $value) $whole) -}}
{{- end -}}
{{- if or .ca.secret .ca.configMap -}}
{{- $_ := set $options "ssl.ca.location" "/etc/netflight/kafka-ca/ca.crt" -}}
{{- end -}}
{{- if .clientCertificate.secret -}}
{{- $_ := set $options "ssl.certificate.location" "/etc/netflight/kafka-client/tls.crt" -}}
{{- $_ := set $options "ssl.key.location" "/etc/netflight/kafka-client/tls.key" -}}
{{- end -}}
{{- if $options -}}{{- toJson $options -}}{{- end -}}
{{- end -}}

{{/* Options from Secrets have variables of their own, so that no value needs escaping in JSON. */}}
{{- define "netflight.kafkaEnv" -}}
{{- with .Values.kafka -}}
- name: NETFLIGHT_KAFKA__BOOTSTRAP
  value: {{ .bootstrap | quote }}
- name: NETFLIGHT_KAFKA__PARTITIONS
  value: {{ .partitions | quote }}
- name: NETFLIGHT_KAFKA__REPLICATION
  value: {{ .replication | quote }}
{{- with include "netflight.kafkaOptions" . }}
- name: NETFLIGHT_KAFKA__OPTIONS
  value: {{ . | quote }}
{{- end }}
{{- range .secretOptions }}
- name: NETFLIGHT_KAFKA__OPTIONS__{{ .option }}
  valueFrom:
    secretKeyRef:
      name: {{ .secret }}
      key: {{ .key }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "netflight.elasticsearchEnv" -}}
{{- with .Values.elasticsearch -}}
- name: NETFLIGHT_ELASTICSEARCH__URLS
  value: {{ toJson .urls | quote }}
- name: NETFLIGHT_ELASTICSEARCH__VERIFY
  value: {{ .verify | quote }}
{{- with .apiKey.secret }}
- name: NETFLIGHT_ELASTICSEARCH__API_KEY
  valueFrom:
    secretKeyRef:
      name: {{ . }}
      key: {{ $.Values.elasticsearch.apiKey.key }}
{{- end }}
{{- with .username }}
- name: NETFLIGHT_ELASTICSEARCH__USERNAME
  value: {{ . | quote }}
- name: NETFLIGHT_ELASTICSEARCH__PASSWORD
  valueFrom:
    secretKeyRef:
      name: {{ $.Values.elasticsearch.password.secret }}
      key: {{ $.Values.elasticsearch.password.key }}
{{- end }}
{{- if or .ca.secret .ca.configMap }}
- name: NETFLIGHT_ELASTICSEARCH__CA_CERTS
  value: /etc/netflight/elasticsearch-ca/ca.crt
{{- end }}
{{- if not (kindIs "invalid" .bulkBytes) }}
- name: NETFLIGHT_ELASTICSEARCH__BULK_BYTES
  value: {{ .bulkBytes | int64 | quote }}
{{- end }}
{{- if not (kindIs "invalid" .bulkSeconds) }}
- name: NETFLIGHT_ELASTICSEARCH__BULK_SECONDS
  value: {{ .bulkSeconds | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "netflight.workerEnv" -}}
{{- with .Values.worker -}}
- name: NETFLIGHT_WORKER__WEB_PORT
  value: {{ .webPort | quote }}
- name: NETFLIGHT_WORKER__WEB_HOST
  value: {{ .webHost | quote }}
{{- with .rules }}
{{- /* A mounted ConfigMap shows each key twice below its root: as a link, and in the folder that ..data points to. */}}
{{- $folders := list }}
{{- range . }}
{{- $folders = append $folders (printf "/etc/netflight/rules/%s/..data" .name) }}
{{- end }}
- name: NETFLIGHT_WORKER__RULES
  value: {{ toJson $folders | quote }}
{{- end }}
{{- range $setting, $value := dict "LATENESS" .lateness "IDLE_CLOSE" .idleClose "WINDOW" .window }}
{{- if not (kindIs "invalid" $value) }}
- name: NETFLIGHT_WORKER__{{ $setting }}
  value: {{ $value | quote }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "netflight.tmpMounts" -}}
- name: tmp
  mountPath: /tmp
- name: state
  mountPath: /var/lib/netflight
{{- end -}}

{{- define "netflight.caVolume" -}}
{{- with .ca }}
{{- if or .secret .configMap }}
- name: {{ $.name }}-ca
  {{- if .secret }}
  secret:
    secretName: {{ .secret }}
  {{- else }}
  configMap:
    name: {{ .configMap }}
  {{- end }}
    items:
      - key: {{ .key }}
        path: ca.crt
{{- end }}
{{- end }}
{{- end -}}

{{- define "netflight.caMount" -}}
{{- if or .ca.secret .ca.configMap }}
- name: {{ .name }}-ca
  mountPath: /etc/netflight/{{ .name }}-ca
  readOnly: true
{{- end }}
{{- end -}}

{{- define "netflight.kafkaVolumes" -}}
{{- include "netflight.caVolume" (dict "name" "kafka" "ca" .Values.kafka.ca) }}
{{- with .Values.kafka.clientCertificate.secret }}
- name: kafka-client
  secret:
    secretName: {{ . }}
    # Group-readable: the group is the pod's fsGroup, the user is not root.
    defaultMode: 0440
{{- end }}
{{- end -}}

{{- define "netflight.kafkaMounts" -}}
{{- include "netflight.caMount" (dict "name" "kafka" "ca" .Values.kafka.ca) }}
{{- if .Values.kafka.clientCertificate.secret }}
- name: kafka-client
  mountPath: /etc/netflight/kafka-client
  readOnly: true
{{- end }}
{{- end -}}

{{- define "netflight.elasticsearchVolumes" -}}
{{- include "netflight.caVolume" (dict "name" "elasticsearch" "ca" .Values.elasticsearch.ca) }}
{{- end -}}

{{- define "netflight.elasticsearchMounts" -}}
{{- include "netflight.caMount" (dict "name" "elasticsearch" "ca" .Values.elasticsearch.ca) }}
{{- end -}}

{{/* Ports of kafka.bootstrap, as JSON {"ports": [...]}: host:port or [v6]:port, parted by commas. */}}
{{- define "netflight.kafkaPorts" -}}
{{- $ports := list -}}
{{- range splitList "," .Values.kafka.bootstrap -}}
{{- $ports = append $ports (regexFind "[0-9]+$" (trim .) | int) -}}
{{- end -}}
{{- dict "ports" (uniq $ports) | toJson -}}
{{- end -}}

{{/* Ports of elasticsearch.urls, as JSON {"ports": [...]}; 443 or 80 where a URL names none. */}}
{{- define "netflight.elasticsearchPorts" -}}
{{- $ports := list -}}
{{- range .Values.elasticsearch.urls -}}
{{- $url := urlParse . -}}
{{- $port := regexFind ":[0-9]+$" $url.host | trimPrefix ":" -}}
{{- $ports = append $ports (default (ternary "443" "80" (eq $url.scheme "https")) $port | int) -}}
{{- end -}}
{{- dict "ports" (uniq $ports) | toJson -}}
{{- end -}}

{{- define "netflight.captureFilter" -}}
{{- $parts := list -}}
{{- with .Values.capture.filter -}}
{{- $parts = append $parts (printf "(%s)" .) -}}
{{- end -}}
{{- if .Values.capture.excludeKafka -}}
{{- range (include "netflight.kafkaPorts" . | fromJson).ports -}}
{{- $parts = append $parts (printf "not tcp port %d" (int .)) -}}
{{- end -}}
{{- end -}}
{{- join " and " $parts -}}
{{- end -}}
