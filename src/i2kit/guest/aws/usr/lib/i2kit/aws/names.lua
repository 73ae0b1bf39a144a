-- Records of this machine's address in a hosted zone of Route 53. Names are `NAME`, which is this machine's alone, or
-- `NAME=ID`, which several have: each under an id of its own, and without one under the instance's.
-- Source: Route 53 API reference, ChangeResourceRecordSets.
local client = require("client")
local names = {}

local SECONDS = 5

local RECORD = "<Change><Action>%s</Action><ResourceRecordSet><Name>%s</Name><Type>A</Type>%s<TTL>%d</TTL>"
    .. "<ResourceRecords><ResourceRecord><Value>%s</Value></ResourceRecord></ResourceRecords>"
    .. "</ResourceRecordSet></Change>"
local SHARED = "<SetIdentifier>%s</SetIdentifier><MultiValueAnswer>true</MultiValueAnswer>"
local BATCH = '<?xml version="1.0" encoding="UTF-8"?>'
    .. '<ChangeResourceRecordSetsRequest xmlns="https://route53.amazonaws.com/doc/2013-04-01/">'
    .. "<ChangeBatch><Changes>%s</Changes></ChangeBatch></ChangeResourceRecordSetsRequest>"

-- One change for each name.
function names.changes(action, wanted)
    local address, found = client.about("local-ipv4"):match("%S+"), {}
    for _, word in ipairs(wanted) do
        local name, id = word:match("^([^=]+)=(.*)$")
        local shared = ""
        if id then
            shared = SHARED:format(id ~= "" and id or client.about("instance-id"):match("%S+"))
        end
        found[#found + 1] = RECORD:format(action, name or word, shared, SECONDS, address)
    end
    return found
end

-- Status and body of the answer to these changes, all of which are made or none.
function names.change(identity, zone, changes)
    local path = ("/2013-04-01/hostedzone/%s/rrset/"):format(zone)
    return client.call(identity, "route53", "", BATCH:format(table.concat(changes)), path)
end

return names
