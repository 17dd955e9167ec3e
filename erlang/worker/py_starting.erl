%%% @doc The start of an interpreter, until it serves.
%%%
%%% ```
%%% open -> configure (its first call; the answer says that it understands us) -> import -> on_start -> threads -> serve
%%% '''
%%%
%%% What goes wrong ends the interpreter; what follows then is decided elsewhere.
%%% @private
-module(py_starting).

-export([open/1, answered/3, measure/2]).

-include("py_worker.hrl").

%% The pause between two looks at the memory of a sandbox.
-define(MEASURE_MS, 100).

%% @doc Open the next interpreter, and begin to talk to it.
-spec open(#state{}) -> {ok, #state{}} | {error, py_launcher:reason(), #state{}}.
open(#state{config = Config, incarnation = Before, calls = Calls, ticket = Ticket, mounts = Mounts} = Closed) ->
    Name = lists:flatten(io_lib:format("~ts.~w", [pid_to_list(self()), Before + 1])),
    State = Closed#state{mounts = [], mounted = Mounts},
    case py_interpreter:open(Config#{mounts => Mounts}, Name) of
        {ok, Interpreter} ->
            py_registry:put_interpreter(Ticket, Interpreter),
            Started = State#state{
                guard = py_guard:new(Config),
                phase = starting, incarnation = Before + 1, calls = py_calls:attach(Interpreter, Calls)
            },
            {ok, configure(Started)};
        {error, Reason} ->
            {error, Reason, State#state{phase = starting}}
    end.

configure(#state{config = #{start_timeout := Timeout} = Config, incarnation = Incarnation, calls = Calls} = State) ->
    Own = #{wire => py_wire:version(), worker => self(), incarnation => Incarnation},
    Interpreters = py_interpreter:settings(py_calls:interpreter(Calls)),
    Body = py_wire:body('erl.calls.worker', configure, [maps:merge(maps:merge(py_settings:new(Config), Interpreters), Own)]),
    py_worker_state:set_timer(start_timeout, Timeout, py_worker_state:internal(configure, Body, State)).

%% @doc A call of the start has been answered.
-spec answered(configure | import | on_start | threads, binary(), #state{}) -> #state{}.
answered(Step, Frame, State) -> started(Step, own_answer(Step, Frame, State), State).

%% Its first answer says that it understands us; then come the modules to import, then `on_start', then the calls that waited.
started(configure, {ok, Report}, #state{config = Config, calls = Calls, ticket = Ticket} = State) when length(Report) >= 0 ->
    #{preload := Preloaded, import := Imported} = Config,
    Connected = py_interpreter:connect(proplists:get_value(os_pid, Report), py_calls:interpreter(Calls)),
    py_registry:put_interpreter(Ticket, Connected),
    py_registry:put_python(State#state.pool, version(proplists:get_value(python, Report))),
    Configured = limited(Report, py_worker_state:updated(Connected, State#state{codec = codec(proplists:get_value(codec, Report))})),
    %% What a zygote has imported is there.
    case Preloaded ++ Imported of
        [] ->
            on_start(Configured);
        Modules ->
            Body = py_wire:body('erl.calls.worker', load, [[py_term:module(Module) || Module <- Modules]]),
            py_worker_state:internal(import, Body, Configured)
    end;
started(import, {ok, _Value}, State) ->
    on_start(State);
started(on_start, {ok, _Value}, State) ->
    threads(State);
started(threads, {ok, _Value}, State) ->
    serve(State);
started(Step, {error, Error}, #state{guard = undefined} = State) ->
    py_worker_state:doom({start, {Step, py_exception:from_python(Error)}}, State);
started(Step, {error, Error}, #state{atoms = Atoms} = State) ->
    py_worker_state:doom({start, {Step, py_exception:from_python(py_guard:failure(Error, Atoms))}}, State);
started(_Step, _Unreadable, State) ->
    py_worker_state:doom({start, unreadable_answer}, State).

on_start(#state{config = #{on_start := undefined}} = State) ->
    threads(State);
on_start(#state{config = #{on_start := {Module, Function, Args}} = Config, slot = Slot} = State) ->
    Flags = py_mapping:flags(maps:with([none], Config)),
    %% Replicas of a service have numbers; one that is replaced has that of the one before.
    Given = py_secret:reveal(Args) ++ [Slot || maps:get(numbered, Config, false)],
    Body = py_wire:body('erl.calls.objects', call, [Flags, Module, Function, Given, []]),
    py_worker_state:internal(on_start, Body, State).

%% Of `sys.version', which begins "3.11.2 (main, ...".
version([_ | _] = Text) ->
    try
        [Major, Minor | _] = string:lexemes(string:slice(Text, 0, 16), ". +"),
        {list_to_integer(Major), list_to_integer(Minor)}
    catch
        error:_ -> undefined
    end;
version(_) ->
    undefined.

%% From here on calls run in threads; those of the start have run in Python's main thread, which signal handlers want.
threads(#state{config = #{threads := 1}} = State) ->
    serve(State);
threads(#state{config = #{threads := Threads}} = State) ->
    py_worker_state:internal(threads, py_wire:body('erl.calls.worker', run_in_threads, [Threads]), State).

%% Whether it lets calls be taken back. Where they run in threads, it is asked for them.
limited(Report, #state{calls = Calls, config = #{threads := Threads}} = State) ->
    case Threads =:= 1 andalso proplists:get_value(limit, Report) of
        true -> State#state{calls = py_calls:keeps_limit(Calls)};
        _ -> State
    end.

codec(native) -> native;
codec(_) -> reference.

serve(#state{load = Load, slot = Slot, starters = Starters, calls = Calls} = State) ->
    Now = erlang:monotonic_time(millisecond),
    py_registry:report_start(Load, Slot, Now),
    [gen_server:reply(Starter, ok) || Starter <- Starters],
    py_worker_state:event([worker, start], #{}, State),
    measure_later(State),
    Served = State#state{phase = serving, starters = [], since = Now, own_calls = py_calls:sent(Calls), calls = py_calls:open(Calls)},
    Serving = py_worker_state:stop_timer(Served),
    py_worker_state:report(py_draining:recycle_used(Serving)).

%% What user code gave nobody reads: only what it raised.
own_answer(Step, Frame, #state{guard = Guard, atoms = Atoms}) when Step =:= import; Step =:= on_start ->
    case py_wire:is_result(Frame) of
        true -> {ok, undefined};
        false when Guard =:= undefined -> py_wire:answer(Frame, Atoms);
        false -> guarded_answer(Frame, Guard, Atoms)
    end;
own_answer(_Step, Frame, #state{guard = undefined}) ->
    py_wire:answer(Frame);
own_answer(_Step, Frame, #state{guard = Guard, atoms = Atoms}) ->
    guarded_answer(Frame, Guard, Atoms).

%% In this process as much is read as of a request.
guarded_answer(Frame, Guard, Atoms) ->
    case py_guard:admit(Frame, Guard) of
        {ok, _} -> py_wire:answer(Frame, Atoms);
        error -> error
    end.

%% @doc Look at the memory of a sandbox, as long as its interpreter lives: the limit of each process in it is the system's to keep,
%% that of all of them together is looked after here.
-spec measure(Incarnation :: pos_integer(), #state{}) -> #state{}.
measure(Incarnation, #state{incarnation = Incarnation, calls = Calls, config = #{max_memory := Most}} = State) ->
    Interpreter = py_calls:interpreter(Calls),
    case Interpreter =/= undefined andalso py_interpreter:exceeds(Most, Interpreter) of
        {true, Bytes} ->
            py_worker_state:doom({memory, Bytes}, State);
        false ->
            measure_later(State),
            State
    end;
measure(_, State) ->
    State.

measure_later(#state{config = #{sandbox := bwrap, max_memory := Most}, incarnation = Incarnation}) when is_integer(Most) ->
    _ = erlang:start_timer(?MEASURE_MS, self(), {measure, Incarnation}),
    ok;
measure_later(_State) ->
    ok.
