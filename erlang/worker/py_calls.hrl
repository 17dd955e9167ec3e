%%% The calls that a worker has in hand, and the interpreter that they go through. Its record is shared by the modules that change it: see
%%% py_calls.
-record(calls, {
    interpreter = undefined :: undefined | py_interpreter:interpreter(),
    flow = held :: open | held,
    sent = py_inflight:new() :: py_inflight:calls(),
    waiting = py_waiting:new() :: py_waiting:waiting(),
    window = py_window:new() :: py_window:window(),
    pool :: py_config:pool_name(),
    figures :: py_figures:figures(),
    %% When the port was read last.
    read_us = 0 :: integer(),
    %% When the call began whose answer comes next, how long each runs of those that come together, and whether somebody listens.
    began = {0, 0, false} :: {Us :: integer(), EachUs :: non_neg_integer(), boolean()},
    %% Whether calls may be taken back out of the pipe; when it is looked again whether some are to be; the ids of those that were.
    has_limit = false :: boolean(),
    look = none :: none | reference(),
    taken = #{} :: #{py_wire:id() => []},
    overdue :: py_overdue:overdue(),
    watch_timer = undefined :: undefined | {reference(), Sent :: non_neg_integer()},
    budget :: py_atoms:budget(),
    max_queue :: non_neg_integer() | infinity,
    threads :: pos_integer(),
    coroutines :: pos_integer() | infinity,
    %% What Python has asked and has no answer to.
    questions = #{} :: #{Question :: term() => py_request:running()},
    %% Those that Python lets no call nest in.
    alone = [] :: [Question :: term()]
}).
-type calls() :: #calls{}.
