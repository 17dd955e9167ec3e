%%% @doc What all that a worker does has in common: its timer, calls of its own, the end of its interpreter, what it reports.
%%%
%%% A worker process has one timer, for what its phase waits for; setting it stops the one before.
%%% @private
-module(py_worker_state).

-export([box_os_pid/1, new/5, updated/2, flush/1, internal/3, forget/2, doom/2, set_timer/3, stop_timer/1]).
-export([report/1, report/2, event/3, event/4, metadata/1, own_bytes/1, info/1, running/1, head/1]).
-export_type([state/0, info/0, running/0]).

-include("py_worker.hrl").

-type state() :: #state{}.
-type info() :: #{
    worker := pid(),
    pool := py_config:pool_name(),
    sandbox := none | py_pool_options:sandbox_kind(),
    os_pid := non_neg_integer() | undefined,
    state := starting | serving | recycling | restarting | degraded | draining,
    codec := native | reference | undefined,
    calls := non_neg_integer(),
    in_flight := non_neg_integer(),
    references := non_neg_integer(),
    restarts := non_neg_integer(),
    uptime_ms := non_neg_integer(),
    memory_bytes := non_neg_integer() | undefined
}.

-type running() :: #{
    state := starting | serving | recycling | restarting | degraded | draining,
    in_flight := non_neg_integer(),
    running := [{Name :: binary(), Us :: non_neg_integer()}]
}.

-spec new(py_config:pool_name(), py_registry:slot(), py_registry:ticket(), py_registry:load(), py_config:pool()) -> state().
new(Pool, Slot, Ticket, Load, #{restart := Restart} = Config) ->
    Atoms = py_guard:budget(Pool, Config),
    #state{
        pool = Pool,
        slot = Slot,
        ticket = Ticket,
        load = Load,
        config = Config,
        calls = py_calls:new(Pool, py_registry:figures(Pool, Slot), Config, Atoms),
        guard = py_guard:new(Config),
        atoms = Atoms,
        budget = py_restart:new(Restart)
    }.

-spec updated(py_interpreter:interpreter(), state()) -> state().
updated(Interpreter, #state{calls = Calls} = State) -> State#state{calls = py_calls:update(Interpreter, Calls)}.

%% @doc Write what is pending.
-spec flush(state()) -> state().
flush(#state{calls = Calls} = State) -> State#state{calls = py_calls:flush(Calls)}.

%% @doc Send a call of the worker's own.
-spec internal(py_calls:step(), py_wire:body(), state()) -> state().
internal(Step, Body, #state{calls = Calls} = State) -> State#state{calls = py_calls:internal(Step, Body, Calls)}.

%% @doc Have Python forget what belongs to nobody any more.
-spec forget([pos_integer()], state()) -> state().
forget([], State) -> State;
forget(Ids, State) -> internal(released, py_wire:body('erl.calls.references', release, [Ids]), State).

%% @doc Kill the interpreter; what it dies of is the reason, not the signal. A port that never says that it ended (its program
%% could not even be started) is given up after a while.
-spec doom(py_error:down_reason(), state()) -> state().
doom(Reason, #state{calls = Calls} = State) ->
    Interpreter = py_calls:interpreter(Calls),
    case Interpreter =:= undefined orelse py_interpreter:is_doomed(Interpreter) of
        false -> set_timer(gone, ?GONE_MS, updated(py_interpreter:kill(Reason, Interpreter), State));
        true -> State
    end.

%% @doc Have `py_incarnations:timer/2' get this event in so many milliseconds, and no other.
-spec set_timer(atom(), non_neg_integer(), state()) -> state().
set_timer(Event, Ms, State) -> (stop_timer(State))#state{timer = erlang:start_timer(Ms, self(), Event)}.

-spec stop_timer(state()) -> state().
stop_timer(#state{timer = undefined} = State) ->
    State;
stop_timer(#state{timer = Timer} = State) ->
    _ = erlang:cancel_timer(Timer),
    State#state{timer = undefined}.

%% @doc Tell schedulers how many calls it has in hand, and whether it can serve.
-spec report(state()) -> state().
report(State) -> report(0, State).

%% @doc The same as if so many had been answered already.
-spec report(Answers :: non_neg_integer(), state()) -> state().
report(_Answers, #state{phase = draining} = State) ->
    State;
report(Answers, #state{load = Load, slot = Slot, phase = Phase, calls = Calls} = Before) ->
    py_registry:report_load(Load, Slot, max(0, py_calls:load(Calls) - Answers), Phase =:= serving),
    State = report_beside(py_calls:beside(Calls), Before),
    %% Those that have their answers coming may call again.
    if Answers =:= 0 -> py_sharing:look(State); true -> State end.

report_beside(Beside, #state{beside = Beside} = State) ->
    State;
report_beside(Beside, #state{load = Load, slot = Slot} = State) ->
    py_registry:report_beside(Load, Slot, Beside),
    State#state{beside = Beside}.

-spec event(py_events:event(), map(), state()) -> ok.
event(Name, Measurements, State) -> event(Name, Measurements, State, #{}).

-spec event(py_events:event(), map(), state(), map()) -> ok.
event(Name, Measurements, State, Metadata) ->
    py_events:emit(Name, Measurements, maps:merge(metadata(State), Metadata)).

%% @doc What it says of itself in events and logs.
-spec metadata(state()) -> map().
metadata(#state{pool = Pool} = State) -> #{pool => Pool, worker => self(), os_pid => os_pid(State)}.

os_pid(#state{calls = Calls}) ->
    case py_calls:interpreter(Calls) of
        undefined -> undefined;
        Interpreter -> py_interpreter:os_pid(Interpreter)
    end.

%% @doc The number of what has made the box of its interpreter, if that is in one.
-spec box_os_pid(state()) -> non_neg_integer() | undefined.
box_os_pid(#state{phase = serving, calls = Calls}) -> py_interpreter:box_os_pid(py_calls:interpreter(Calls));
box_os_pid(_State) -> undefined.

memory_bytes(#state{calls = Calls}) ->
    case py_calls:interpreter(Calls) of
        undefined -> undefined;
        Interpreter -> py_interpreter:memory_bytes(Interpreter)
    end.

%% @doc How much of what `max_memory' bounds its interpreter has.
-spec own_bytes(state()) -> non_neg_integer() | undefined.
own_bytes(#state{calls = Calls}) ->
    case py_calls:interpreter(Calls) of
        undefined -> undefined;
        Interpreter -> py_interpreter:own_bytes(Interpreter)
    end.

-spec info(state()) -> info().
info(#state{calls = Calls, owners = Owners, incarnation = Incarnation} = State) ->
    OsPid = os_pid(State),
    #{
        worker => self(),
        pool => State#state.pool,
        sandbox => maps:get(sandbox, State#state.config),
        os_pid => OsPid,
        state => State#state.phase,
        codec => State#state.codec,
        calls => State#state.served,
        in_flight => py_calls:load(Calls),
        references => py_owners:count(Owners),
        restarts => max(0, Incarnation - 1),
        uptime_ms => uptime(State),
        memory_bytes => memory_bytes(State)
    }.

%% @doc What it has in hand, and which calls of it Python has begun, for how long.
-spec running(state()) -> running().
running(#state{phase = Phase, calls = Calls}) ->
    #{state => Phase, in_flight => py_calls:load(Calls), running => [{py_wire:name(Head), Us} || {Head, Us} <- py_timing:running(Calls)]}.

uptime(#state{phase = serving, since = Since}) -> erlang:monotonic_time(millisecond) - Since;
uptime(_) -> 0.

%% @doc Enough of a bad frame to see what it was.
-spec head(binary()) -> binary().
head(Frame) -> binary:part(Frame, 0, min(64, byte_size(Frame))).
