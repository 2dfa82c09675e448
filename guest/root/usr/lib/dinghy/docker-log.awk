# Keeps dockerd's log, and tells when dockerd serves: its socket exists earlier than that.
{
    print >"/var/log/docker.log"
    fflush("/var/log/docker.log")
}
!is_ready && /API listen on/ {
    is_ready = 1
    system("/usr/lib/dinghy/docker-ready")
}
