"""Servers that hand out files and take them: FTP, mail, SMB; nginx is in servers.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

from samples.record.lab import wait_for

if TYPE_CHECKING:
    from samples.record.lab import Host

VSFTPD_CONF = """\
listen=YES
nopriv_user=nobody
ftp_username=daemon
secure_chroot_dir={folder}/empty
anonymous_enable=YES
anon_root={folder}/ftp
no_anon_password=YES
write_enable=YES
anon_upload_enable=YES
anon_umask=022
pasv_min_port=30000
pasv_max_port=30100
port_enable=YES
connect_from_port_20=YES
xferlog_enable=NO
ftpd_banner=ready
seccomp_sandbox=NO
isolate=NO
isolate_network=NO
"""

SMB_CONF = """\
[global]
  workgroup = EXAMPLE
  server role = standalone server
  map to guest = Bad User
  guest account = nobody
  security = user
  server min protocol = SMB2_02
  smb encrypt = off
  server signing = disabled
  disable netbios = yes
  smb ports = 445
  load printers = no
  printcap name = /dev/null
  log file = {folder}/smb.log
  private dir = {folder}/smb
  lock directory = {folder}/smb
  state directory = {folder}/smb
  cache directory = {folder}/smb
  pid directory = {folder}/smb
  ncalrpc dir = {folder}/smb/ncalrpc
  bind interfaces only = no
[public]
  path = {folder}/share
  guest ok = yes
  read only = no
  force user = root
"""


def ftp(host: Host) -> None:
    """Run vsftpd on port 21 for anonymous users, who may put files into `in`."""
    (host.folder / "ftp" / "in").mkdir(parents=True)
    (host.folder / "empty").mkdir()
    conf = host.write("vsftpd.conf", VSFTPD_CONF.format(folder=host.folder))
    host.start("vsftpd", str(conf))
    wait_for(lambda: host.listening(21), "vsftpd")


def mail(host: Host) -> None:
    """Run aiosmtpd on port 25, which takes every mail and forgets it."""
    host.start("python3", "-m", "aiosmtpd", "-n", "-l", "0.0.0.0:25", "-c", "aiosmtpd.handlers.Sink")
    wait_for(lambda: host.listening(25), "aiosmtpd")


def smb(host: Host) -> None:
    """Run Samba on port 445 with a share that everybody may use."""
    (host.folder / "smb" / "ncalrpc").mkdir(parents=True)
    (host.folder / "share").mkdir()
    conf = host.write("smb.conf", SMB_CONF.format(folder=host.folder))
    host.start("smbd", "-F", "--no-process-group", "-s", str(conf))
    wait_for(lambda: host.listening(445), "smbd")
