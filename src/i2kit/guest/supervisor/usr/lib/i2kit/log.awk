# Each line of a container goes to the host at once, with its name, in pieces of at most 8 KiB. Where `ship` is set
# it goes to that fifo instead, in pieces that are written whole whoever writes beside (PIPE_BUF), all but the last
# of a line marked by a plus.
BEGIN { most = ship ? 3900 : 8192 }
{
    while (length($0) > most) {
        out(name (ship ? "+" : " ") substr($0, 1, most))
        $0 = substr($0, most + 1)
    }
    out(name " " $0)
    if (!ship)
        fflush()
}

function out(piece) {
    if (ship) {
        print piece > ship
        fflush(ship)
    } else
        print piece
}
