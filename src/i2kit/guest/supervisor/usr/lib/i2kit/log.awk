# Each line of a container goes to the host at once, with its name, in pieces of at most 8 KiB; where `ship` is
# set to that fifo too, in pieces that are written whole whoever writes beside (PIPE_BUF), all but the last of
# a line marked by a plus.
{
    if (ship) {
        for (rest = $0; length(rest) > 3900; rest = substr(rest, 3901)) {
            print name "+" substr(rest, 1, 3900) > ship
            fflush(ship)
        }
        print name " " rest > ship
        fflush(ship)
    }
    while (length($0) > 8192) {
        print name " " substr($0, 1, 8192)
        $0 = substr($0, 8193)
    }
    print name " " $0
    fflush()
}
