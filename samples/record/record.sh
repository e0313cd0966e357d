#!/usr/bin/env bash
# Records the sample captures again: samples/record/record.sh [--install] [NAME...]
# Needs root (network namespaces, packet capture) and the programs below; --install gets those through apt.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

# program:package
needs=(
  capinfos:wireshark-common curl:curl dig:bind9-dnsutils dnsmasq:dnsmasq-base dumpcap:wireshark-common
  ethtool:ethtool ifconfig:net-tools iodine:iodine ip:iproute2 named:bind9 nginx:nginx-light
  nmap:nmap nmbd:samba nmblookup:samba-common-bin openssl:openssl ping:iputils-ping scp:openssh-client sshd:openssh-server sshpass:sshpass snmpd:snmpd snmpget:snmp snmptrapd:snmptrapd
  nghttp:nghttp2-client nghttpd:nghttp2-server nghttpx:nghttp2-proxy tinyproxy:tinyproxy
  nmap:nmap openssl:openssl ping:iputils-ping scp:openssh-client sshd:openssh-server sshpass:sshpass
  ganesha.nfsd:nfs-ganesha
  java:openjdk-17-jre-headless mosquitto:mosquitto mosquitto_pub:mosquitto-clients nfs-ls:libnfs-utils
  radclient:freeradius-utils freeradius:freeradius rabbitmqctl:rabbitmq-server rpcbind:rpcbind sipp:sip-tester
  dovecot:dovecot-imapd lftp:lftp nc:netcat-openbsd ngircd:ngircd sic:sic swaks:swaks vsftpd:vsftpd
  tshark:tshark udhcpc:udhcpc unshare:util-linux
  java:default-jre-headless mariadb:mariadb-client mariadbd:mariadb-server memccp:libmemcached-tools
  memcached:memcached psql:postgresql-client redis-cli:redis-tools redis-server:redis-server
  kinit:krb5-user krb5kdc:krb5-kdc ldapsearch:ldap-utils slapd:slapd smbclient:smbclient smbd:samba
  tigervncpasswd:tigervnc-tools xfreerdp:freerdp2-x11 xrdp:xrdp xtigervncviewer:tigervnc-viewer
  Xtigervnc:tigervnc-standalone-server Xvfb:xvfb
  vsftpd:vsftpd swaks:swaks aiosmtpd:python3-aiosmtpd smbd:samba smbclient:smbclient
)

if [ "$(id -u)" -ne 0 ]; then
  echo "record.sh: needs root for network namespaces and packet capture (try: sudo $0 $*)" >&2
  exit 2
fi

install=no
if [ "${1:-}" = --install ]; then
  install=yes
  shift
fi

PATH=$PATH:/usr/sbin:/sbin
missing=()
for need in "${needs[@]}"; do
  command -v "${need%%:*}" >/dev/null || missing+=("${need##*:}")
done
if [ "${#missing[@]}" -gt 0 ]; then
  if [ "$install" = yes ]; then
    apt-get update -q
    DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}"
  else
    echo "record.sh: missing packages (try: $0 --install $*, or: apt-get install ${missing[*]})" >&2
    exit 1
  fi
fi

exec python3 -m samples.record "$@"
