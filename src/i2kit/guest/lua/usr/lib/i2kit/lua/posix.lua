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
struct timespec { long seconds, nanoseconds; };
struct pollfd { int fd; short events, revents; };
int getaddrinfo(const char *host, const char *service, const struct addrinfo *hints, struct addrinfo **found);
void freeaddrinfo(struct addrinfo *found);
const char *gai_strerror(int code);
int socket(int family, int type, int protocol);
int connect(int fd, const void *address, uint32_t length);
int bind(int fd, const void *address, uint32_t length);
int listen(int fd, int backlog);
int accept4(int fd, void *address, uint32_t *length, int flags);
int getnameinfo(const void *address, uint32_t length, char *host, uint32_t room, char *service, uint32_t none, int flags);
int getsockopt(int fd, int level, int name, void *value, uint32_t *length);
int setsockopt(int fd, int level, int name, const void *value, uint32_t length);
long read(int fd, void *buffer, size_t length);
long write(int fd, const void *buffer, size_t length);
int open(const char *path, int flags, ...);
int close(int fd);
int poll(struct pollfd *fds, unsigned long count, int timeout_ms);
int pipe2(int fds[2], int flags);
int dup2(int fd, int as);
int fork(void);
int execv(const char *path, const char *const *words);
int kill(int pid, int signal);
long syscall(long number, ...);
int fcntl(int fd, int command, ...);
int mkdir(const char *path, unsigned mode);
int unlink(const char *path);
int clock_gettime(int clock, struct timespec *now);
int waitpid(int pid, int *status, int options);
void _exit(int status);
unsigned alarm(unsigned seconds);
int gettimeofday(struct timeval *now, void *zone);
char *strerror(int code);
]]

local C = ffi.C
local posix = {
    READABLE = 1, WRITABLE = 4,
    READ_ONLY = 0, WRITE_ONLY = 1, READ_WRITE = 2, CREATE = 64, TRUNCATE = 512,
    NO_TERMINAL = 256, NONBLOCK = 2048, CLOSE_ON_EXEC = 524288,
    KILL = 9,
}
local STREAM, SOL_SOCKET, RECEIVE_TIMEOUT, SEND_TIMEOUT = 1, 1, 20, 21
local REUSE_ADDRESS, SOCKET_ERROR = 2, 4
local NUMERIC_HOST, NAME_ONLY = 4, 1
local EINTR, EAGAIN, EINPROGRESS = 4, 11, 115
local GET_FLAGS, SET_FLAGS = 3, 4
local MONOTONIC, PIDFD_OPEN = 1, 434 -- the latter with all architectures
local buffer_bytes = 16384
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

-- Milliseconds since the machine's start, about.
function posix.ticks()
    local now = ffi.new("struct timespec")
    C.clock_gettime(MONOTONIC, now)
    return tonumber(now.seconds) * 1000 + math.floor(tonumber(now.nanoseconds) / 1000000)
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

-- Where a port of a host is, as { family=, bytes= }; nil and the reason. With `numeric` no name is looked up.
function posix.address(host, port, numeric)
    local hints, found = ffi.new("struct addrinfo"), ffi.new("struct addrinfo *[1]")
    hints.socktype, hints.flags = STREAM, numeric and NUMERIC_HOST or 0
    local code = C.getaddrinfo(host, tostring(port), hints, found)
    if code ~= 0 then
        return nil, ffi.string(C.gai_strerror(code))
    end
    local address = { family = found[0].family, bytes = ffi.string(found[0].address, found[0].length) }
    C.freeaddrinfo(found[0])
    return address
end

-- The number of a host, such as 10.0.0.1; nil and the reason.
function posix.number_of(host)
    local address, why = posix.address(host, 0)
    if not address then
        return nil, why
    end
    local text = ffi.new("char[64]")
    C.getnameinfo(address.bytes, #address.bytes, text, 64, nil, 0, NAME_ONLY)
    return ffi.string(text)
end

-- A connection on its way there, that can be written to once it is there; nil and the reason.
function posix.begin_connect(address)
    local fd = C.socket(address.family, STREAM + posix.NONBLOCK + posix.CLOSE_ON_EXEC, 0)
    if fd < 0 then
        return nil, reason()
    end
    if C.connect(fd, address.bytes, #address.bytes) ~= 0 and ffi.errno() ~= EINPROGRESS then
        local why = reason()
        C.close(fd)
        return nil, why
    end
    return fd
end

-- Why a connection did not come to be; nil where it did.
function posix.connect_error(fd)
    local code, length = ffi.new("int[1]"), ffi.new("uint32_t[1]", 4)
    C.getsockopt(fd, SOL_SOCKET, SOCKET_ERROR, code, length)
    return code[0] ~= 0 and ffi.string(C.strerror(code[0])) or nil
end

-- A socket that listens at an address; nil and the reason.
function posix.listen(address)
    local fd = C.socket(address.family, STREAM + posix.NONBLOCK + posix.CLOSE_ON_EXEC, 0)
    local on = ffi.new("int[1]", 1)
    C.setsockopt(fd, SOL_SOCKET, REUSE_ADDRESS, on, 4)
    if fd < 0 or C.bind(fd, address.bytes, #address.bytes) ~= 0 or C.listen(fd, 128) ~= 0 then
        local why = reason()
        C.close(fd)
        return nil, why
    end
    return fd
end

-- The next connection to a listening socket; nil when there is none.
function posix.accept(fd)
    local accepted = C.accept4(fd, nil, nil, posix.NONBLOCK + posix.CLOSE_ON_EXEC)
    return accepted >= 0 and accepted or nil
end

-- Read what is there into memory of so many bytes: their number, 0 at the end; nil when nothing is there yet;
-- nil and the reason when nothing will be.
function posix.read_into(fd, memory, length)
    local count
    repeat
        count = tonumber(C.read(fd, memory, length))
    until count >= 0 or ffi.errno() ~= EINTR
    if count >= 0 then
        return count
    elseif ffi.errno() == EAGAIN then
        return nil
    end
    return nil, reason()
end

-- The same as text, at most so much; "" at the end.
function posix.read_some(fd, most)
    local count, why = posix.read_into(fd, buffer, math.min(most or buffer_bytes, buffer_bytes))
    return count and ffi.string(buffer, count), why
end

-- Write what can be written at once: how many bytes; nil and the reason when nothing ever can be.
function posix.try_write(fd, text)
    local count = tonumber(C.write(fd, text, #text))
    if count >= 0 then
        return count
    elseif ffi.errno() == EAGAIN or ffi.errno() == EINTR then
        return 0
    end
    return nil, reason()
end

-- Start a program with standard output and error in a pipe. { pid=, ended=, output= }: two file descriptors, of
-- which the first can be read from once the program has ended. nil and the reason. `prepare` is done by the new
-- process before.
function posix.start(words, prepare)
    local ends = ffi.new("int[2]")
    if C.pipe2(ends, posix.CLOSE_ON_EXEC + posix.NONBLOCK) ~= 0 then
        return nil, reason()
    end
    local given = ffi.new("const char *[?]", #words + 1)
    for number, word in ipairs(words) do
        given[number - 1] = word
    end
    local pid = C.fork()
    if pid == 0 then
        pcall(prepare)
        local nothing = C.open("/dev/null", posix.READ_ONLY)
        C.dup2(nothing, 0)
        C.dup2(ends[1], 1)
        C.dup2(ends[1], 2)
        C.execv(words[1], given)
        C._exit(127)
    end
    local why = pid < 0 and reason()
    C.close(ends[1])
    local ended = pid >= 0 and tonumber(C.syscall(PIDFD_OPEN, ffi.cast("int", pid), ffi.cast("unsigned", 0))) or -1
    if ended < 0 then
        why = why or reason()
        if pid >= 0 then
            C.kill(pid, posix.KILL)
            C.waitpid(pid, nil, 0)
        end
        C.close(ends[0])
        return nil, why
    end
    return { pid = pid, ended = ended, output = ends[0] }
end

-- The exit status of a process that has ended, as the shell has it.
function posix.status_of(pid)
    local status = ffi.new("int[1]")
    C.waitpid(pid, status, 0)
    local signal = bit.band(status[0], 127)
    return signal ~= 0 and 128 + signal or bit.rshift(status[0], 8)
end

function posix.kill(pid, signal)
    C.kill(pid, signal)
end

-- Whether the text could be written to the file, which is there.
function posix.write_file(path, text)
    local fd = C.open(path, posix.WRITE_ONLY + posix.CLOSE_ON_EXEC)
    if fd < 0 then
        return false
    end
    local done = C.write(fd, text, #text) == #text
    C.close(fd)
    return done
end

-- The text of a small file; nil where it cannot be read.
function posix.read_file(path)
    local fd = C.open(path, posix.READ_ONLY + posix.CLOSE_ON_EXEC)
    if fd < 0 then
        return nil
    end
    local text = posix.read_some(fd)
    C.close(fd)
    return text
end

-- Reading and writing this file waits for nothing from now on, whoever has it open.
function posix.set_nonblocking(fd)
    local flags = C.fcntl(fd, GET_FLAGS)
    C.fcntl(fd, SET_FLAGS, ffi.cast("int", bit.bor(flags, posix.NONBLOCK)))
end

function posix.make_folder(path)
    return C.mkdir(path, tonumber("755", 8)) == 0
end

function posix.remove(path)
    C.unlink(path)
end

-- Wait until one of { fd, events } can be read from or written to, at most so long (-1: for ever): a list of
-- booleans as long.
function posix.poll_all(wanted, milliseconds)
    local polled = ffi.new("struct pollfd[?]", #wanted)
    for number, one in ipairs(wanted) do
        polled[number - 1].fd, polled[number - 1].events = one[1], one[2]
    end
    local found = C.poll(polled, #wanted, milliseconds) > 0
    local able = {}
    for number = 1, #wanted do
        able[number] = found and polled[number - 1].revents ~= 0
    end
    return able
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
    if C.pipe2(ends, posix.CLOSE_ON_EXEC) ~= 0 then
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
