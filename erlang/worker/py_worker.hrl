%%% What a worker process knows. Its record is shared by the modules that change it: see py_worker.
-record(state, {
    pool :: py_config:pool_name(),
    slot :: py_registry:slot(),
    ticket :: py_registry:ticket(),
    load :: py_registry:load(),
    config :: py_config:pool(),
    phase = starting :: starting | serving | recycling | restarting | degraded | draining,
    calls :: py_calls:calls(),
    %% How many calls others have been told that it could let go of.
    kept = 0 :: non_neg_integer(),
    %% Whether it has nothing to do, and has looked for somebody who has.
    has_asked = false :: boolean(),
    %% With how many calls in hand it may have more, though others idle; what Python had said of its calls when that was looked at.
    fill = 0 :: non_neg_integer(),
    paced = {0, 0, 0} :: py_interpreter:paced(),
    %% The call whose answer was to come first at the last look, and at how many looks before it.
    first = {none, 0} :: {pos_integer() | none, non_neg_integer()},
    %% The least that its heap may be, while it may be no less than a large one.
    usual_heap = undefined :: undefined | non_neg_integer(),
    guard :: py_guard:guard() | undefined,
    atoms :: py_atoms:budget(),
    owners = py_owners:new() :: py_owners:owners(),
    budget :: py_restart:budget(),
    %% Whether the next death is none that its budget counts.
    is_excused = false :: boolean(),
    %% How many calls were last told to run beside the others.
    beside = unknown :: unknown | non_neg_integer(),
    incarnation = 0 :: non_neg_integer(),
    codec = undefined :: undefined | native | reference,
    last_down = restarting :: py_error:down_reason(),
    %% While a call ran it held most of what it may have: at the end of a call that is looked at again.
    large_since = never :: never | integer(),
    %% Whether its interpreter says that it holds what others rely on: then it is not replaced for what it has done, or has.
    holds = false :: boolean(),
    %% Whether its interpreter, which has nothing to do, was asked to leave: then it has `LEAVE_MS', whatever it says meanwhile.
    is_leaving = false :: boolean(),
    timer = undefined :: undefined | reference(),
    %% Something has come that only `gen_server' can do: until the mailbox is empty it gets each message itself.
    is_stepping = false :: boolean(),
    starters = [] :: [gen_server:from()],
    %% What the next box has beside the pool's directories, and what this one has: of one interpreter alone.
    mounts = [] :: [py_sandbox:mount()],
    mounted = [] :: [py_sandbox:mount()],
    drainer = undefined :: undefined | gen_server:from(),
    served = 0 :: non_neg_integer(),
    %% How many this interpreter was sent by the worker itself before it served.
    own_calls = 0 :: non_neg_integer(),
    since = 0 :: integer()
}).

%% How long one that serves nothing may take to leave when it is asked to.
-define(LEAVE_MS, 1_000).
%% How long the port of a killed interpreter may take to say so.
-define(GONE_MS, 5_000).
