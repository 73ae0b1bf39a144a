-- Attaches a volume to this machine and waits until it is there. One that another machine has is waited for, as long
-- as that may take to end, and never taken away.
-- Source: EC2 API reference, DescribeVolumes, AttachVolume; EC2 user guide, "Device names for volumes".
local client, posix = require("client"), require("posix")

local VERSION, DEVICES = "2016-11-15", "fghijklmnop"
local PATIENCE_MS, PAUSE_MS = 900000, 2000

return function(identity, volume)
    local function ask(action, parameters)
        return client.ask(identity, "ec2", "", client.form(action, VERSION, parameters))
    end
    -- What the volume is: `available`, `in-use` …; by whom it is used, and how far that is.
    local function look()
        local answer = ask("DescribeVolumes", { ["VolumeId.1"] = volume })
        local held = answer:match("<attachmentSet>(.-)</attachmentSet>") or ""
        local status = answer:gsub("<attachmentSet>.-</attachmentSet>", ""):match("<status>(.-)</status>")
        return status, held:match("<instanceId>(.-)</instanceId>"), held:match("<status>(.-)</status>")
    end
    local deadline, told, device = posix.ticks() + PATIENCE_MS, nil, 1
    while posix.ticks() < deadline do
        local status, holder, state = look()
        if holder == identity.instance and state == "attached" then
            return ""
        elseif status == "available" and device <= #DEVICES then
            local done, why = pcall(ask, "AttachVolume", {
                VolumeId = volume,
                InstanceId = identity.instance,
                Device = "/dev/sd" .. DEVICES:sub(device, device),
            })
            if not done and why:find("already in use", 1, true) and why:find("unixDevice", 1, true) then
                device = device + 1
            elseif not done and not why:find("VolumeInUse") and not why:find("IncorrectState") then
                error(why, 0)
            end
        elseif holder and holder ~= identity.instance and told ~= holder then
            told = holder
            io.stderr:write(volume, " is still in use by ", holder, "\n")
        elseif status == "error" or status == "deleting" or status == "deleted" then
            error(volume .. " is " .. status, 0)
        end
        posix.poll({}, PAUSE_MS)
    end
    error(volume .. (told and " is in use by " .. told or " could not be attached in time"), 0)
end
