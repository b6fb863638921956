-- Health of an AuditProject, an AuditLogStore or a RamTrail in Argo CD: one script for all kinds of ramtrail.io.
-- A deleted object never comes here: Argo CD itself calls it Progressing until it is gone.
local function health(status, condition, otherwise)
  local message = otherwise
  if condition ~= nil then
    message = condition.message
    if message == nil or message == "" then
      message = condition.reason
    end
  end
  return { status = status, message = message }
end

local generation = obj.metadata.generation or 0
local status = obj.status
if status == nil or status.conditions == nil or (status.observedGeneration or 0) < generation then
  return health("Progressing", nil, "Waiting for the operator to look at this generation")
end

local found = {}
for _, condition in ipairs(status.conditions) do
  found[condition.type] = condition
end
local ready = found.Ready
if ready == nil then
  return health("Progressing", nil, "Waiting for the condition Ready")
end

-- A person must act: a bad spec, a permission that is missing, a trail that does not deliver.
if found.Stalled ~= nil and found.Stalled.status == "True" then
  return health("Degraded", found.Stalled)
end
if ready.reason == "Paused" then
  return health("Suspended", ready)
end
-- Somebody weakened the audit in the cloud, and it was not seen healed yet. What was never complete is not called weakened: it
-- is still being made.
local protected = found.Protected
if status.appliedGeneration ~= nil and protected ~= nil and protected.status == "False" and protected.reason == "Tampered" then
  return health("Degraded", protected)
end
-- Nobody has seen the cloud for more than three resyncs: what was true then is no claim.
if ready.reason == "ObservationStale" then
  return health("Degraded", ready)
end
if found.Reconciling ~= nil and found.Reconciling.status == "True" then
  if ready.status == "True" then
    return health("Progressing", found.Reconciling)
  end
  return health("Progressing", ready)
end
if (ready.observedGeneration or generation) < generation then
  return health("Progressing", nil, "Waiting for the operator to compare this generation with the cloud")
end

if ready.status == "True" then
  local healthy = health("Healthy", ready)
  if protected ~= nil and protected.status == "False" then
    healthy.message = (healthy.message or "") .. ". Not protected: " .. (protected.message or protected.reason)
  end
  return healthy
end
if ready.status == "False" then
  -- managementPolicy is Observe: what is missing is listed in status.plan, and nobody is to make it.
  if ready.reason == "PlanPending" then
    return health("Suspended", ready)
  end
  return health("Degraded", ready)
end
return health("Progressing", ready)
