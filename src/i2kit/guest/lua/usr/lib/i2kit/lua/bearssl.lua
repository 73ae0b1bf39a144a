-- TLS 1.2 as a client and SHA-256, of the library BearSSL.
--
-- A connection by `connect` is with who the host's name says or with nobody: its certificate has to lead to one of
-- the certificates in roots.der (DER, one behind the other). One by `open` is with whoever answers: for probes.
-- Source: bearssl.h and what it includes.
local bit, ffi = require("bit"), require("ffi")
local posix = require("posix")

ffi.cdef [[
typedef struct { unsigned char *n; size_t nlen; unsigned char *e; size_t elen; } rsa_key;
typedef struct { int curve; unsigned char *q; size_t qlen; } ec_key;
typedef struct {
    unsigned char *name;
    size_t name_length;
    unsigned flags;
    struct { unsigned char type; union { rsa_key rsa; ec_key ec; } key; } key;
} trust_anchor;
void br_sha256_init(void *context);
void br_sha224_update(void *context, const void *data, size_t length);
void br_sha256_out(const void *context, void *out);
void br_ssl_client_init_full(void *client, void *checker, const trust_anchor *anchors, size_t count);
void br_ssl_engine_set_buffer(void *engine, void *buffer, size_t length, int bidirectional);
int br_ssl_client_reset(void *client, const char *host, int resume);
unsigned br_ssl_engine_current_state(const void *engine);
unsigned char *br_ssl_engine_sendapp_buf(const void *engine, size_t *length);
void br_ssl_engine_sendapp_ack(void *engine, size_t length);
unsigned char *br_ssl_engine_recvapp_buf(const void *engine, size_t *length);
void br_ssl_engine_recvapp_ack(void *engine, size_t length);
unsigned char *br_ssl_engine_sendrec_buf(const void *engine, size_t *length);
void br_ssl_engine_sendrec_ack(void *engine, size_t length);
unsigned char *br_ssl_engine_recvrec_buf(const void *engine, size_t *length);
void br_ssl_engine_recvrec_ack(void *engine, size_t length);
void br_ssl_engine_flush(void *engine, int force);
typedef struct {
    size_t context_size;
    void (*start_chain)(void *checker, const char *host);
    void (*start_certificate)(void *checker, uint32_t length);
    void (*append)(void *checker, const unsigned char *bytes, size_t length);
    void (*end_certificate)(void *checker);
    unsigned (*end_chain)(void *checker);
    const void *(*key)(void *checker, unsigned *usages);
} checker_class;
void br_x509_decoder_init(void *decoder, void *append_name, void *context);
void br_x509_decoder_push(void *decoder, const void *bytes, size_t length);
]]

local library = ffi.load("libbearssl.so.0")
local bearssl = {}

-- Of 64-bit machines, with room to spare: a client is 3720 bytes, a checker 3168, a hash 112.
local CLIENT_BYTES, CHECKER_BYTES, HASH_BYTES, DECODER_BYTES = 8192, 8192, 256, 4096
local BUFFER_BYTES = 33178 -- BR_SSL_BUFSIZE_BIDI
local CLOSED, SEND_RECORD, RECEIVE_RECORD, SEND, RECEIVE = 1, 2, 4, 8, 16
local VERSIONS_AT, TLS10, TLS12 = 1440, 0x0301, 0x0303
local RSA, EC, IS_CA = 1, 2, 1
local NO_CERTIFICATE, ANY_USAGE = 35, 0x30 -- BR_ERR_X509_EMPTY_CHAIN, for keys and for signatures
local RSA_ID = "\42\134\72\134\247\13\1\1\1"
local EC_ID = "\42\134\72\206\61\2\1"
local CURVES = { ["\42\134\72\206\61\3\1\7"] = 23, ["\43\129\4\0\34"] = 24 }

function bearssl.sha256(text)
    local hash, out = ffi.new("uint64_t[?]", HASH_BYTES / 8), ffi.new("char[32]")
    library.br_sha256_init(hash)
    library.br_sha224_update(hash, text, #text)
    library.br_sha256_out(hash, out)
    return ffi.string(out, 32)
end

-- RFC 2104.
function bearssl.hmac(key, text)
    if #key > 64 then
        key = bearssl.sha256(key)
    end
    key = key .. ("\0"):rep(64 - #key)
    local function masked(mask)
        return (key:gsub(".", function(one) return string.char(bit.bxor(one:byte(), mask)) end))
    end
    return bearssl.sha256(masked(0x5c) .. bearssl.sha256(masked(0x36) .. text))
end

-- The value of DER at a place: its content, where it ends, its tag.
local function der(text, at)
    local tag, length = text:byte(at, at + 1)
    local start = at + 2
    if length >= 128 then
        local count = length - 128
        length = 0
        for position = start, start + count - 1 do
            length = length * 256 + text:byte(position)
        end
        start = start + count
    end
    return text:sub(start, start + length - 1), start + length, tag
end

-- The values within a value, each with its own tag and length.
local function values(text)
    local found, at = {}, 1
    while at <= #text do
        local _, after = der(text, at)
        found[#found + 1] = text:sub(at, after - 1)
        at = after
    end
    return found
end

local function content(text)
    return (der(text, 1))
end

-- Whom to trust: names and public keys of certificates. The second value keeps their bytes in memory.
local function anchors(text)
    local certificates, kept = values(text), {}
    local found = ffi.new("trust_anchor[?]", #certificates)
    local function bytes(value)
        local copy = ffi.new("unsigned char[?]", #value)
        ffi.copy(copy, value, #value)
        kept[#kept + 1] = copy
        return copy, #value
    end
    for number, certificate in ipairs(certificates) do
        local fields = values(content(values(content(certificate))[1]))
        -- The version comes first where it is given: serial number, algorithm, issuer, validity, subject, key.
        local first = select(3, der(fields[1], 1)) == 0xa0 and 2 or 1
        local anchor, key = found[number - 1], values(content(fields[first + 5]))
        anchor.name, anchor.name_length = bytes(fields[first + 4])
        anchor.flags = IS_CA
        local kind = values(content(key[1]))
        local bits = content(key[2]):sub(2)
        if content(kind[1]) == RSA_ID then
            local numbers = values(content(bits))
            local rsa = anchor.key.key.rsa
            anchor.key.type = RSA
            rsa.n, rsa.nlen = bytes((content(numbers[1]):gsub("^%z+", "")))
            rsa.e, rsa.elen = bytes((content(numbers[2]):gsub("^%z+", "")))
        elseif content(kind[1]) == EC_ID then
            local ec = anchor.key.key.ec
            anchor.key.type = EC
            ec.curve = assert(CURVES[content(kind[2])], "a root has a key of an unknown curve")
            ec.q, ec.qlen = bytes(bits)
        else
            error("a root has a key of an unknown kind", 0)
        end
    end
    return found, #certificates, kept
end

local MEANINGS = {
    [326] = "it does not speak TLS 1.2",
    [54] = "its certificate is not valid at this machine's time",
    [56] = "its certificate is for another name",
    [62] = "its certificate is from nobody who is trusted",
}

-- Move what the other side sends and is to get until one of these states is reached; nil at the end.
local function run(connection, wanted)
    local length = ffi.new("size_t[1]")
    while true do
        local state = library.br_ssl_engine_current_state(connection.client)
        if bit.band(state, CLOSED) ~= 0 then
            local code = ffi.cast("int *", connection.client)[0]
            if code ~= 0 then
                error(connection.host .. ": " .. (MEANINGS[code] or "TLS error " .. code), 0)
            end
            return nil
        elseif bit.band(state, SEND_RECORD) ~= 0 then
            local record = library.br_ssl_engine_sendrec_buf(connection.client, length)
            connection.send(ffi.string(record, length[0]))
            library.br_ssl_engine_sendrec_ack(connection.client, length[0])
        elseif bit.band(state, wanted) ~= 0 then
            return state
        elseif bit.band(state, RECEIVE_RECORD) ~= 0 then
            local record = library.br_ssl_engine_recvrec_buf(connection.client, length)
            local count = connection.receive(record, length[0])
            if count <= 0 then
                error(connection.host .. (count == 0 and " closed the connection" or " does not answer"), 0)
            end
            library.br_ssl_engine_recvrec_ack(connection.client, count)
        else
            error(connection.host .. ": there is more to read first", 0)
        end
    end
end

-- A client that trusts these; it has no connection yet.
local function client(host, trusted, count)
    local connection = {
        host = host,
        client = ffi.new("uint64_t[?]", CLIENT_BYTES / 8),
        checker = ffi.new("uint64_t[?]", CHECKER_BYTES / 8),
        buffer = ffi.new("char[?]", BUFFER_BYTES),
    }
    library.br_ssl_client_init_full(connection.client, connection.checker, trusted, count)
    local versions = ffi.cast("uint16_t *", ffi.cast("char *", connection.client) + VERSIONS_AT)
    assert(versions[0] == TLS10 and versions[1] == TLS12, "another version of BearSSL")
    versions[0] = TLS12
    library.br_ssl_engine_set_buffer(connection.client, connection.buffer, BUFFER_BYTES, 1)
    return connection
end

-- A connection to this port of this host. Raises an error that says why there is none.
function bearssl.connect(host, port, roots, seconds)
    local file = assert(io.open(roots, "rb"))
    local found, count, kept = anchors(file:read("*a"))
    file:close()
    local connection = client(host, found, count)
    connection.anchors, connection.kept = found, kept
    library.br_ssl_client_reset(connection.client, host, 0)
    connection.fd = posix.connect(host, port, seconds)
    function connection.send(text) posix.write_all(connection.fd, text) end
    function connection.receive(memory, length) return tonumber(ffi.C.read(connection.fd, memory, length)) end
    return connection
end

local decoders = setmetatable({}, { __mode = "v" }) -- by the place of their checkers
local unchecked

local function place(pointer)
    return tonumber(ffi.cast("uintptr_t", pointer))
end

-- Takes the key of the first certificate, whoever made that: what BearSSL calls an X.509 engine.
local function unchecked_class()
    if unchecked then
        return unchecked
    end
    unchecked = ffi.new("checker_class")
    unchecked.context_size = CHECKER_BYTES
    unchecked.start_chain = function(checker) decoders[place(checker)].certificates = 0 end
    unchecked.start_certificate = function(checker)
        local decoder = decoders[place(checker)]
        decoder.certificates = decoder.certificates + 1
        if decoder.certificates == 1 then
            library.br_x509_decoder_init(decoder.memory, nil, nil)
        end
    end
    unchecked.append = function(checker, bytes, length)
        local decoder = decoders[place(checker)]
        if decoder.certificates == 1 then
            library.br_x509_decoder_push(decoder.memory, bytes, length)
        end
    end
    unchecked.end_certificate = function() end
    unchecked.end_chain = function(checker) return decoders[place(checker)].certificates > 0 and 0 or NO_CERTIFICATE end
    -- The key is the first thing in a decoder; without a kind it is of no certificate that could be read.
    unchecked.key = function(checker, usages)
        local memory = decoders[place(checker)].memory
        if usages ~= nil then
            usages[0] = ANY_USAGE
        end
        return ffi.cast("unsigned char *", memory)[0] ~= 0 and memory or nil
    end
    return unchecked
end

-- A connection with whoever is behind these two: `send` sends a text, `receive` reads into memory of so many
-- bytes and gives their number, 0 at the end. Both may raise errors.
function bearssl.open(host, send, receive)
    local connection = client(host, nil, 0)
    connection.send, connection.receive = send, receive
    connection.decoder = { memory = ffi.new("uint64_t[?]", DECODER_BYTES / 8), certificates = 0 }
    decoders[place(connection.checker)] = connection.decoder
    ffi.cast("checker_class **", connection.checker)[0] = unchecked_class()
    -- A number is no name that a server could go by.
    local name = not host:find(":") and not host:find("^[%d.]+$") and host or nil
    library.br_ssl_client_reset(connection.client, name, 0)
    return connection
end

function bearssl.write(connection, text)
    local length, at = ffi.new("size_t[1]"), 0
    while at < #text do
        if not run(connection, SEND) then
            error(connection.host .. " closed the connection", 0)
        end
        local room = library.br_ssl_engine_sendapp_buf(connection.client, length)
        local count = math.min(tonumber(length[0]), #text - at)
        ffi.copy(room, ffi.cast("const char *", text) + at, count)
        library.br_ssl_engine_sendapp_ack(connection.client, count)
        at = at + count
    end
    library.br_ssl_engine_flush(connection.client, 0)
end

-- What the other side says next; nil at its end.
function bearssl.read(connection)
    local length = ffi.new("size_t[1]")
    if not run(connection, RECEIVE) then
        return nil
    end
    local text = library.br_ssl_engine_recvapp_buf(connection.client, length)
    local said = ffi.string(text, length[0])
    library.br_ssl_engine_recvapp_ack(connection.client, length[0])
    return said
end

return bearssl
