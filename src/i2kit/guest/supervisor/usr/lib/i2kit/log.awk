# Each line of a container goes to the host at once, with its name, in pieces of at most 8 KiB.
{
    while (length($0) > 8192) {
        print name " " substr($0, 1, 8192)
        $0 = substr($0, 8193)
    }
    print name " " $0
    fflush()
}
