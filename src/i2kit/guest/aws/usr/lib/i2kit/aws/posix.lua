-- Sockets, time and processes: what Lua lacks, of the C library.
local bit, ffi = require("bit"), require("ffi")
-- Compiled code would make up for its cost only after long runs.
jit.off()

ffi.cdef [[
struct addrinfo {
    int flags, family, socktype, protocol;
    uint32_t length;
    void *address;
    char *name;
    struct addrinfo *next;
};
struct timeval { long seconds, microseconds; };
struct pollfd { int fd; short events, revents; };
int getaddrinfo(const char *host, const char *service, const struct addrinfo *hints, struct addrinfo **found);
void freeaddrinfo(struct addrinfo *found);
const char *gai_strerror(int code);
int socket(int family, int type, int protocol);
int connect(int fd, const void *address, uint32_t length);
int setsockopt(int fd, int level, int name, const void *value, uint32_t length);
long read(int fd, void *buffer, size_t length);
long write(int fd, const void *buffer, size_t length);
int open(const char *path, int flags, ...);
int close(int fd);
int poll(struct pollfd *fds, unsigned long count, int timeout_ms);
int pipe(int fds[2]);
int fork(void);
int waitpid(int pid, int *status, int options);
void _exit(int status);
unsigned alarm(unsigned seconds);
int gettimeofday(struct timeval *now, void *zone);
char *strerror(int code);
]]

local C = ffi.C
local posix = { READABLE = 1, WRITE_ONLY = 1, NO_TERMINAL = 256, NONBLOCK = 2048 }
local STREAM, SOL_SOCKET, RECEIVE_TIMEOUT, SEND_TIMEOUT = 1, 1, 20, 21
local EINTR = 4
local buffer_bytes = 65536
local buffer = ffi.new("char[?]", buffer_bytes)

local function reason()
    return ffi.string(C.strerror(ffi.errno()))
end

-- Milliseconds since 1970.
function posix.now()
    local now = ffi.new("struct timeval")
    C.gettimeofday(now, nil)
    return tonumber(now.seconds) * 1000 + math.floor(tonumber(now.microseconds) / 1000)
end

-- A connection, no read or write of which takes longer than this. Raises an error that says why there is none.
function posix.connect(host, port, seconds)
    local hints, found = ffi.new("struct addrinfo"), ffi.new("struct addrinfo *[1]")
    hints.socktype = STREAM
    local code = C.getaddrinfo(host, tostring(port), hints, found)
    if code ~= 0 then
        error(host .. ": " .. ffi.string(C.gai_strerror(code)), 0)
    end
    local limit = ffi.new("struct timeval", seconds, 0)
    local one, why = found[0], "no address"
    while one ~= nil do
        local fd = C.socket(one.family, one.socktype, one.protocol)
        C.setsockopt(fd, SOL_SOCKET, RECEIVE_TIMEOUT, limit, ffi.sizeof(limit))
        C.setsockopt(fd, SOL_SOCKET, SEND_TIMEOUT, limit, ffi.sizeof(limit))
        if C.connect(fd, one.address, one.length) == 0 then
            C.freeaddrinfo(found[0])
            return fd
        end
        why = reason()
        C.close(fd)
        one = one.next
    end
    C.freeaddrinfo(found[0])
    error(host .. ": " .. why, 0)
end

-- What there is to read, "" at the end; nil and the reason when it cannot be read.
function posix.read(fd)
    local count
    repeat
        count = tonumber(C.read(fd, buffer, buffer_bytes))
    until count >= 0 or ffi.errno() ~= EINTR
    if count < 0 then
        return nil, reason()
    end
    return ffi.string(buffer, count)
end

function posix.write_all(fd, text)
    local at = 0
    while at < #text do
        local count = tonumber(C.write(fd, ffi.cast("const char *", text) + at, #text - at))
        if count > 0 then
            at = at + count
        elseif ffi.errno() ~= EINTR then
            error("cannot write: " .. reason(), 0)
        end
    end
end

-- How many bytes of the text could be written at once.
function posix.write_some(fd, text)
    return math.max(tonumber(C.write(fd, text, #text)), 0)
end

function posix.open(path, flags)
    local fd = C.open(path, flags)
    return fd >= 0 and fd or nil
end

function posix.close(fd)
    C.close(fd)
end

-- Wait until something can be read from one of these, at most so long; which of them can be.
function posix.poll(fds, milliseconds)
    local polled = ffi.new("struct pollfd[?]", #fds)
    for number, fd in ipairs(fds) do
        polled[number - 1].fd, polled[number - 1].events = fd, posix.READABLE
    end
    local readable = {}
    if C.poll(polled, #fds, milliseconds) > 0 then
        for number, fd in ipairs(fds) do
            readable[fd] = polled[number - 1].revents ~= 0
        end
    end
    return readable
end

-- Do this in a process of its own, which ends after so many seconds at the latest; a file descriptor to
-- read the text from that it returns, and the process. nil when there can be no process.
function posix.spawn(seconds, act)
    local ends = ffi.new("int[2]")
    if C.pipe(ends) ~= 0 then
        return nil
    end
    local pid = C.fork()
    if pid == 0 then
        C.alarm(seconds)
        local done, text = pcall(act)
        pcall(posix.write_all, ends[1], done and text or tostring(text))
        C._exit(0)
    end
    C.close(ends[1])
    if pid < 0 then
        C.close(ends[0])
        return nil
    end
    return ends[0], pid
end

function posix.reap(pid)
    C.waitpid(pid, nil, 0)
end

return posix
