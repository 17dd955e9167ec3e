%%% @doc A worker: the process that owns one port, and so one interpreter at a time.
%%%
%%% It routes and does not read: a call comes encoded from its caller, the answer goes back as it came, and only the
%%% frame's head is looked at. When the interpreter dies this process stays and starts the next one as its restart budget
%%% allows. A call that Python had begun is answered with `{worker_down, Why}'; one that it had not is given back to its
%%% caller (`moved'), who takes another worker; one that was not sent yet waits for the next interpreter.
%%%
%%% ```
%%%   starting -> serving -> recycling (the open calls end, then a new interpreter) -> starting ...
%%%                  |-> restarting -> starting ...
%%%                  |-> degraded (calls fail at once) -> starting ...
%%%                  `-> draining (the open calls end, then the worker is taken away)
%%% '''
%%%
%%% Messages, all from this application: `{py_call, Alias, Caller, Owner, GroupLeader, Body}', answered with
%%% `{Alias, {frame, Frame}}', `{Alias, {frame, Frame, Budget}}' or `{Alias, {error, Reason}}'; `{py_cancel, Alias}';
%%% `{py_answer, Incarnation, Id, Frame}' from a process that ran a call of Python's.
%%%
%%% What becomes of single calls is `py_calls''; this process decides over interpreters.
%%% @private
-module(py_worker).
-behaviour(gen_server).

-export([call/4, cast/2, release/3, ask_start/1, told_start/1, info/1, distrust/2, recycle/1, drain/2]).
-export([start_link/5]).
-export([init/1, handle_continue/2, handle_call/3, handle_cast/2, handle_info/2, terminate/2, format_status/1]).
-export_type([info/0]).

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

-record(state, {
    pool :: py_config:pool_name(),
    slot :: py_registry:slot(),
    ticket :: py_registry:ticket(),
    load :: py_registry:load(),
    config :: py_config:pool(),
    phase = starting :: starting | serving | recycling | restarting | degraded | draining,
    calls :: py_calls:calls(),
    guard :: py_guard:guard() | undefined,
    atoms :: py_atoms:budget(),
    owners = py_owners:new() :: py_owners:owners(),
    budget :: py_restart:budget(),
    %% Whether the next death is none that its budget counts.
    is_excused = false :: boolean(),
    incarnation = 0 :: non_neg_integer(),
    codec = undefined :: undefined | native | reference,
    last_down = restarting :: py_error:down_reason(),
    %% While a call ran it held most of what it may have: at the end of a call that is looked at again.
    large_since = never :: never | integer(),
    timer = undefined :: undefined | reference(),
    %% Something has come that only `gen_server' can do: until the mailbox is empty it gets each message itself.
    is_stepping = false :: boolean(),
    starters = [] :: [gen_server:from()],
    drainer = undefined :: undefined | gen_server:from(),
    served = 0 :: non_neg_integer(),
    since = 0 :: integer()
}).

%% How long an interpreter that has ended may take to deliver what is left in the pipe, and how long one that serves
%% nothing may take to leave when it is asked to.
-define(DRAIN_MS, 200).
-define(LARGE_BYTES, 1 bsl 20).
-define(LEAVE_MS, 1_000).
%% How many calls are taken out of the mailbox in one step.
-define(AT_ONCE, 64).
%% The pause between two looks for a worker process that is being replaced.
-define(REPLACED_MS, 5).
%% How long whoever was told that a worker does not start has time to take it away.
-define(TAKEN_AWAY_MS, 5_000).
%% How long the port of a killed interpreter may take to say so.
-define(GONE_MS, 5_000).
%% The pause between two looks at the memory of a sandbox.
-define(MEASURE_MS, 100).
%% What a sandboxed Python may have its worker process keep for it.
-define(MOST_UNREAD_BYTES, (256 bsl 20)).
-define(MOST_OPEN_CALLS, 100_000).
-define(MOST_REFERENCES, 100_000).

%%% For callers

%% @doc One call, from an encoded body to the answer's frame. `Timeout' covers waiting, sending and running; what the call
%% leaves in Python (references) belongs to `Owner'. With a budget the frame is a sandboxed Python's. `moved': it was not begun, and
%% another worker may have it.
-spec call(pid(), py_wire:body(), timeout(), py_owners:owner()) ->
    {ok, binary()} | {ok, binary(), py_atoms:budget()} | {error, moved | timeout | overload | {worker_down, term()}}.
call(Worker, Body, Timeout, Owner) ->
    Alias = monitor(process, Worker, [{alias, reply_demonitor}]),
    Worker ! {py_call, Alias, self(), Owner, group_leader(), Body},
    receive
        {Alias, {frame, Frame}} -> {ok, Frame};
        {Alias, {frame, Frame, Budget}} -> {ok, Frame, Budget};
        {Alias, {error, _} = Error} -> Error;
        {'DOWN', Alias, process, _, Reason} -> {error, ended(Reason)}
    after Timeout ->
        %% From here on nothing can arrive; what arrived just before still counts.
        demonitor(Alias, [flush]),
        receive
            {Alias, {frame, Frame}} -> {ok, Frame};
            {Alias, {frame, Frame, Budget}} -> {ok, Frame, Budget};
            {Alias, {error, _} = Error} -> Error
        after 0 ->
            Worker ! {py_cancel, Alias},
            {error, timeout}
        end
    end.

%% A worker that stops answers every call that it has read: this one has not been read, nor has one of a worker that was
%% gone before.
ended(noproc) ->
    %% Its supervisor replaces it, and may be busy: a caller that looks for another one must not keep a core so.
    receive after ?REPLACED_MS -> moved end;
ended(shutdown) -> moved;
ended({shutdown, _}) -> moved;
ended(Reason) -> {worker_down, Reason}.

%% @doc A message for Python's message handler.
-spec cast(pid(), term()) -> ok.
cast(Worker, Message) -> gen_server:cast(Worker, {message, py_wire:message(Message)}).

%% @doc Forget references of one incarnation.
-spec release(pid(), Incarnation :: pos_integer(), [pos_integer()]) -> ok.
release(Worker, Incarnation, Ids) -> gen_server:cast(Worker, {release, Incarnation, Ids}).

%% @doc A caller could not read the frame this worker's Python sent: it is not trusted any longer.
-spec distrust(pid(), binary()) -> ok.
distrust(Worker, Frame) -> gen_server:cast(Worker, {distrust, Frame}).

%% @doc Ask the worker whether it serves.
-spec ask_start(pid()) -> gen_server:request_id().
ask_start(Worker) -> gen_server:send_request(Worker, await_start).

%% @doc Wait until the worker that was asked serves for the first time, or for the reason why it does not.
-spec told_start(gen_server:request_id()) -> ok | {error, term()}.
told_start(Request) ->
    case gen_server:receive_response(Request, infinity) of
        {reply, Answer} -> Answer;
        {error, {Reason, _}} -> {error, Reason}
    end.

%% @doc What the worker is doing; never waits for Python.
-spec info(pid()) -> {ok, info()} | {error, {worker_down, term()}}.
info(Worker) ->
    try
        {ok, gen_server:call(Worker, info, 5_000)}
    catch
        exit:{Reason, _} -> {error, {worker_down, Reason}}
    end.

%% @doc Give it a new interpreter as soon as its open calls have ended; answers when that one serves, or with why it does
%% not.
-spec recycle(pid()) -> gen_server:request_id().
recycle(Worker) -> gen_server:send_request(Worker, recycle).

%% @doc Take no call any more; answers `ok' when the open ones have ended, or `timeout' after that time.
-spec drain(pid(), timeout()) -> gen_server:request_id().
drain(Worker, Timeout) -> gen_server:send_request(Worker, {drain, Timeout}).

%%% The process

-spec start_link(
    py_config:pool_name(), py_registry:slot(), py_registry:ticket(), py_registry:load(), py_config:pool()
) -> gen_server:start_ret().
start_link(Pool, Slot, Ticket, Load, Config) ->
    gen_server:start_link(?MODULE, {Pool, Slot, Ticket, Load, Config}, [{spawn_opt, [{message_queue_data, off_heap}]}]).

-spec init(tuple()) -> {ok, #state{}, {continue, first_launch | unwanted}}.
init({Pool, Slot, Ticket, Load, Config}) ->
    process_flag(trap_exit, true),
    case py_registry:is_open_slot(Pool, Slot, Ticket) of
        true ->
            py_registry:put_worker(Pool, Slot, self()),
            {ok, report(new_state(Pool, Slot, Ticket, Load, Config)), {continue, first_launch}};
        false ->
            {ok, new_state(Pool, Slot, Ticket, Load, Config), {continue, unwanted}}
    end.

new_state(Pool, Slot, Ticket, Load, #{restart := Restart} = Config) ->
    Atoms = py_guard:budget(Pool, Config),
    #state{
        pool = Pool,
        slot = Slot,
        ticket = Ticket,
        load = Load,
        config = Config,
        calls = py_calls:new(Config, Atoms),
        guard = py_guard:new(Config),
        atoms = Atoms,
        budget = py_restart:new(Restart)
    }.

-spec handle_continue(first_launch | unwanted, #state{}) ->
    noreply() | {stop, {shutdown, unwanted}, #state{}}.
handle_continue(first_launch, State) ->
    close_left(State),
    noreply(launch(State));
handle_continue(unwanted, State) ->
    close_left(State),
    %% The worker died while it was being taken away, and its supervisor knows nothing of that.
    {stop, {shutdown, unwanted}, State}.

-spec handle_call(term(), gen_server:from(), #state{}) -> noreply().
handle_call(await_start, From, #state{phase = starting, starters = Starters} = State) ->
    noreply(State#state{starters = [From | Starters]});
handle_call(recycle, From, #state{phase = Phase, starters = Starters} = State) when
    Phase =:= starting; Phase =:= serving; Phase =:= recycling
->
    noreply(recycle_serving(State#state{starters = [From | Starters]}));
handle_call(recycle, From, #state{phase = Phase} = State) when Phase =:= restarting; Phase =:= degraded ->
    noreply(launch((stop_timer(State))#state{starters = [From]}));
handle_call({drain, Timeout}, From, State) ->
    noreply(drain(From, Timeout, State));
handle_call(Request, From, State) ->
    gen_server:reply(From, told(Request, State)),
    noreply(State).

told(await_start, #state{phase = serving}) -> ok;
told(Request, #state{phase = draining}) when Request =:= await_start; Request =:= recycle -> {error, stopped};
told(Request, #state{last_down = Reason}) when Request =:= await_start; Request =:= recycle -> {error, Reason};
told(info, State) -> info_map(State);
told(_Request, _State) -> {error, unknown_request}.

-type noreply() :: {noreply, #state{}} | {noreply, #state{}, 0 | hibernate}.

-spec handle_cast(term(), #state{}) -> noreply().
handle_cast({message, Frame}, #state{phase = serving, calls = Calls} = State) ->
    noreply(State#state{calls = py_calls:write(Frame, Calls)});
handle_cast({release, Incarnation, Ids}, #state{incarnation = Incarnation, phase = serving, owners = Owners} = State) ->
    noreply(forget(Ids, State#state{owners = py_owners:release(Ids, Owners)}));
handle_cast({distrust, Frame}, State) ->
    noreply(doom({protocol, head(Frame)}, State));
handle_cast(_Message, State) ->
    noreply(State).

-spec handle_info(term(), #state{}) -> noreply() | {stop, term(), #state{}}.
handle_info({py_call, Alias, Caller, Owner, Leader, [_, _ | _] = Body}, State) ->
    noreply_large(accept(#{from => Alias, caller => Caller, owner => Owner, group_leader => Leader}, Body, State));
handle_info({py_call, _, _, _, _, _} = First, State) ->
    case take_calls(First, most_at_once(State)) of
        {Calls, none} -> {noreply, flush(accept_all(Calls, State))};
        {Calls, more} -> noreply(accept_all(Calls, State));
        {Calls, {next, Message}} -> next(Message, accept_all(Calls, State))
    end;
handle_info(timeout, State) ->
    {noreply, flush(State#state{is_stepping = false})};
handle_info({py_cancel, Alias}, #state{calls = Calls} = State) ->
    %% Also where the answer has been sent: it has not arrived.
    py_shared_owner:lost(Alias),
    noreply(report(State#state{calls = py_calls:cancel(Alias, Calls)}));
%% Python numbers its calls from 1 in each incarnation: an answer that comes late must not reach another one's.
handle_info({py_answer, Incarnation, Id, Frame}, #state{incarnation = Incarnation, calls = Calls, guard = Guard} = State) ->
    case py_calls:answered(Id, Frame, Calls) of
        {ok, Next} -> noreply(State#state{calls = Next, guard = py_guard:answered(Guard)});
        error -> noreply(State)
    end;
handle_info({timeout, _, {measure, Incarnation}}, State) ->
    noreply(measure(Incarnation, State));
handle_info({timeout, Timer, Event}, #state{timer = Timer} = State) ->
    noreply(timer(Event, State#state{timer = undefined}));
handle_info({timeout, _, _} = Timeout, #state{calls = Calls} = State) ->
    case py_calls:timeout(Timeout, Calls) of
        {{kill, IsImporting}, Next} ->
            %% A sandboxed one may say that at any time.
            IsExcused = IsImporting andalso State#state.guard =:= undefined,
            noreply(doom({deadline, killed}, State#state{calls = Next, is_excused = IsExcused}));
        {ok, Next} -> noreply(look_at_memory(State#state{calls = Next}));
        unknown -> noreply(State)
    end;
handle_info({'DOWN', Monitor, process, Pid, _}, #state{owners = Owners, calls = Calls} = State) ->
    {Ids, Left} = py_owners:down(Pid, Owners),
    noreply(report(forget(Ids, State#state{owners = Left, calls = py_calls:cancel(Monitor, Calls)})));
handle_info(Message, #state{calls = Calls} = State) ->
    case py_calls:interpreter(Calls) of
        %% The last words of a port that is gone.
        undefined -> noreply(State);
        Interpreter -> interpreter(py_interpreter:message(Message, Interpreter), State)
    end.

interpreter({frames, Frames, Answers, Interpreter}, State) when byte_size(Frames) > ?LARGE_BYTES ->
    noreply_large(frames(Frames, Answers, updated(Interpreter, State)));
interpreter({frames, Frames, Answers, Interpreter}, State) ->
    noreply(frames(Frames, Answers, updated(Interpreter, State)));
interpreter({bad, Head, Interpreter}, State) ->
    noreply(doom({protocol, Head}, updated(Interpreter, State)));
interpreter({killed, Interpreter}, State) ->
    noreply(set_timer(gone, ?GONE_MS, updated(Interpreter, State)));
%% A process that keeps a copy of a pipe may keep it open, and an interpreter that closed its own may live on: neither is
%% waited for long.
interpreter({ending, Interpreter}, State) ->
    noreply(set_timer(drained, ?DRAIN_MS, updated(Interpreter, State)));
interpreter({ended, Interpreter}, State) ->
    noreply(died(py_interpreter:reason(Interpreter), updated(Interpreter, State)));
interpreter({none, Interpreter}, State) ->
    noreply(updated(Interpreter, State));
interpreter(unknown, State) ->
    %% An answer to an I/O request.
    noreply(State).

updated(Interpreter, #state{calls = Calls} = State) -> State#state{calls = py_calls:update(Interpreter, Calls)}.

flush(#state{calls = Calls} = State) -> State#state{calls = py_calls:flush(Calls)}.

%% What is pending is written when the mailbox is empty: then `timeout' comes at once.
noreply(#state{calls = Calls} = State) ->
    case py_calls:is_pending(Calls) of
        true -> {noreply, State, 0};
        false -> {noreply, State}
    end.

%% A large binary that only passed through must not wait for this process's next collection of garbage.
noreply_large(State) -> {noreply, flush(State), hibernate}.

%% Calls that wait have their arguments in it.
-spec format_status(gen_server:format_status()) -> gen_server:format_status().
format_status(Status) -> py_excerpt:status(Status).

-spec terminate(term(), #state{}) -> ok.
terminate(_Reason, #state{calls = Calls, phase = Phase} = State) ->
    py_registry:delete_worker(self()),
    [gen_server:reply(Starter, {error, stopped}) || Starter <- State#state.starters],
    Error = {error, {worker_down, stopped}},
    Answered = State#state{calls = py_calls:give_back_waiting(Calls)},
    case py_calls:interpreter(Calls) of
        undefined ->
            ok;
        _ ->
            %% One that is busy has no right to be asked.
            Idle = py_calls:open_calls(Calls) =:= 0 andalso (Phase =:= serving orelse Phase =:= draining),
            #state{calls = Left} = Ended = await_exit(Idle, Answered),
            %% What it has begun is certain only when it begins no more.
            _ = py_calls:fail_sent(begun(py_calls:interpreter(Left), Ended), Error, Left),
            ok
    end.

%% A predecessor that was killed could not end its interpreter, and one that is stopped does not see its port close.
close_left(#state{ticket = Ticket}) ->
    lists:foreach(fun py_interpreter:close/1, [Left || {ok, Left} <- [py_registry:take_interpreter(Ticket)]]).

close(Interpreter, #state{ticket = Ticket}) ->
    py_interpreter:close(Interpreter),
    _ = py_registry:take_interpreter(Ticket),
    ok.

await_exit(true, State) -> await_exit(?LEAVE_MS, flush(ask_to_leave(State)));
await_exit(false, State) -> await_exit(0, State);
await_exit(Grace, #state{calls = Calls} = State) ->
    Interpreter = py_calls:interpreter(Calls),
    receive
        Message ->
            case py_interpreter:message(Message, Interpreter) of
                %% Its exit handlers may print and log.
                {frames, Frames, _, Next} -> await_exit(Grace, last_words(Frames, updated(Next, State)));
                {ended, Next} -> updated(Next, State);
                {Event, Next} when Event =:= ending; Event =:= none; Event =:= killed -> await_exit(Grace, updated(Next, State));
                _ -> await_exit(Grace, State)
            end
    after Grace ->
        case py_interpreter:is_doomed(Interpreter) of
            false -> await_exit(?LEAVE_MS, updated(py_interpreter:kill(stopped, Interpreter), State));
            true -> State
        end
    end.

last_words(<<>>, State) ->
    State;
last_words(Frames, State) ->
    {Route, Frame, Rest} = py_wire:next(Frames),
    last_words(Rest, last_word(Route, Frame, State)).

last_word({answer, Id}, Frame, #state{calls = Calls} = State) ->
    case py_calls:answer(Id, Frame, Calls) of
        {_, Left} -> State#state{calls = Left};
        error -> State
    end;
last_word(request, Frame, State) ->
    request(Frame, State).

%%% Starting an interpreter

launch(#state{config = Config, incarnation = Before, calls = Calls, ticket = Ticket} = State) ->
    Name = lists:flatten(io_lib:format("~ts.~w", [pid_to_list(self()), Before + 1])),
    case py_interpreter:open(Config, Name) of
        {ok, Interpreter} ->
            py_registry:put_interpreter(Ticket, Interpreter),
            Started = State#state{
                guard = py_guard:new(Config),
                phase = starting, incarnation = Before + 1, calls = py_calls:attach(Interpreter, Calls)
            },
            configure(Started);
        {error, Reason} ->
            died({start, Reason}, State#state{phase = starting})
    end.

configure(#state{config = #{start_timeout := Timeout} = Config, incarnation = Incarnation, calls = Calls} = State) ->
    Own = #{wire => py_wire:version(), worker => self(), incarnation => Incarnation},
    Interpreters = py_interpreter:settings(py_calls:interpreter(Calls)),
    Body = py_wire:body('erl.calls.worker', configure, [maps:merge(maps:merge(py_settings:new(Config), Interpreters), Own)]),
    set_timer(start_timeout, Timeout, internal(configure, Body, State)).

%% Its first answer says that it understands us; then come the modules to import, then `on_start', then the calls that waited.
started(configure, {ok, Report}, #state{config = #{import := Modules}, calls = Calls} = State) when length(Report) >= 0 ->
    Connected = py_interpreter:connect(py_calls:interpreter(Calls)),
    Configured = updated(Connected, State#state{codec = codec(proplists:get_value(codec, Report))}),
    case Modules of
        [] -> on_start(Configured);
        _ -> internal(import, py_wire:body('erl.calls.worker', load, [[py_term:module(Module) || Module <- Modules]]), Configured)
    end;
started(import, {ok, _Value}, State) ->
    on_start(State);
started(on_start, {ok, _Value}, State) ->
    serve(State);
started(Step, {error, Error}, #state{guard = undefined} = State) ->
    doom({start, {Step, py_exception:from_python(Error)}}, State);
started(Step, {error, Error}, #state{atoms = Atoms} = State) ->
    doom({start, {Step, py_exception:from_python(py_guard:failure(Error, Atoms))}}, State);
started(_Step, _Unreadable, State) ->
    doom({start, unreadable_answer}, State).

on_start(#state{config = #{on_start := undefined}} = State) ->
    serve(State);
on_start(#state{config = #{on_start := {Module, Function, Args}}} = State) ->
    internal(on_start, py_wire:body('erl.calls.objects', call, [0, Module, Function, py_secret:reveal(Args), []]), State).

%% The limit of each process in a sandbox is the system's to keep, that of all of them together is looked after here.
measure(Incarnation, #state{incarnation = Incarnation, calls = Calls, config = #{max_memory := Most}} = State) ->
    Interpreter = py_calls:interpreter(Calls),
    case Interpreter =/= undefined andalso py_interpreter:exceeds(Most, Interpreter) of
        {true, Bytes} ->
            doom({memory, Bytes}, State);
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

codec(native) -> native;
codec(_) -> reference.

serve(#state{load = Load, slot = Slot, starters = Starters, calls = Calls} = State) ->
    Now = erlang:monotonic_time(millisecond),
    py_registry:report_start(Load, Slot, Now),
    [gen_server:reply(Starter, ok) || Starter <- Starters],
    event([worker, start], #{}, State),
    measure_later(State),
    Serving = stop_timer(State#state{phase = serving, starters = [], since = Now, calls = py_calls:open(Calls)}),
    report(recycle_used(Serving)).

%%% Calls

accept(#{from := From}, _Body, #state{phase = degraded, last_down = Reason} = State) ->
    py_calls:reply(From, {error, {worker_down, Reason}}),
    report(State);
accept(#{from := From}, _Body, #state{phase = draining} = State) ->
    py_calls:reply(From, {error, moved}),
    State;
accept(Call, Body, #state{calls = Calls} = State) ->
    report(recycle_used(State#state{calls = py_calls:accept(Call, Body, Calls)})).

accept_all(Calls, #state{phase = serving, config = #{max_calls := infinity}} = State) ->
    report(State#state{calls = py_calls:accept_all([{call(Call), element(6, Call)} || Call <- Calls], State#state.calls)});
accept_all(Calls, State) ->
    lists:foldl(fun(Call, Acc) -> accept(call(Call), element(6, Call), Acc) end, State, Calls).

call({py_call, Alias, Caller, Owner, Leader, _}) ->
    #{from => Alias, caller => Caller, owner => Owner, group_leader => Leader, cancelled => false, number => 1}.

%% The calls that stand in the mailbox one after another, so that all are written at once; and the message behind them, which
%% must not be overtaken.
take_calls(First, Most) -> take_calls(Most - 1, [First], more).

take_calls(0, Calls, End) ->
    {lists:reverse(Calls), End};
take_calls(Most, Calls, _) ->
    receive
        {py_call, _, _, _, _, [_]} = Call -> take_calls(Most - 1, [Call | Calls], more);
        Other -> {lists:reverse(Calls), {next, Other}}
    after 0 -> {lists:reverse(Calls), none}
    end.

most_at_once(#state{is_stepping = false, phase = serving, config = #{max_calls := infinity}}) -> ?AT_ONCE;
most_at_once(_) -> 1.

%% What `gen_server' would have done with it.
next({'$gen_cast', Message}, State) ->
    handle_cast(Message, State);
next({'$gen_call', From, Request}, State) ->
    handle_call(Request, From, State);
next({'EXIT', Pid, Reason} = Message, State) ->
    case is_parent(Pid) of
        true -> {stop, Reason, State};
        false -> handle_info(Message, State)
    end;
next({system, _, _} = Message, State) ->
    self() ! Message,
    noreply(State#state{is_stepping = true});
next(Message, State) ->
    handle_info(Message, State).

is_parent(Pid) ->
    case get('$ancestors') of
        [Parent | _] when is_atom(Parent) -> whereis(Parent) =:= Pid;
        [Parent | _] -> Parent =:= Pid
    end.

internal(Step, Body, #state{calls = Calls} = State) -> State#state{calls = py_calls:internal(Step, Body, Calls)}.

%% Those who get an answer may call again before the last of them has got his, and look then who has the least to do.
frames(Frames, Answers, State) ->
    #state{calls = Calls} = Next = frames(Frames, report(Answers, State)),
    report(Next#state{calls = py_calls:settle(Calls)}).

frames(Frames, #state{calls = Calls, served = Served} = State) ->
    case py_calls:answer_all(Frames, Calls) of
        {0, Left, _} -> first_frame(Left, State);
        {Count, Left, Fewer} -> first_frame(Left, emptied(recycle_large(State#state{calls = Fewer, served = Served + Count})))
    end.

first_frame(<<>>, State) ->
    State;
first_frame(Frames, #state{calls = Calls} = State) ->
    {Route, Frame, Rest} = py_wire:next(Frames),
    %% Not the last frames of one that was killed.
    case py_interpreter:is_doomed(py_calls:interpreter(Calls)) of
        true -> State;
        false -> frames(Rest, routed(Route, Frame, State))
    end.

routed({answer, Id}, Frame, State) -> answer(Id, Frame, State);
routed(request, Frame, State) -> request(Frame, State).

answer(Id, Frame, #state{calls = Calls, served = Served} = State) ->
    case py_calls:answer(Id, Frame, Calls) of
        {answered, Left} -> emptied(recycle_large(State#state{calls = Left, served = Served + 1}));
        {Step, Left} when Step =:= released; Step =:= leave -> emptied(State#state{calls = Left});
        {Step, Left} -> started(Step, own_answer(Step, Frame, State), State#state{calls = Left});
        error -> doom({protocol, head(Frame)}, State)
    end.

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

%%% What Python asks of Erlang

request(Frame, #state{guard = undefined} = State) ->
    asked(py_wire:request(Frame), Frame, State);
request(Frame, #state{guard = Guard, atoms = Atoms} = State) ->
    case not is_flooded(State) andalso py_guard:admit(Frame, Guard) of
        {ok, Next} ->
            Now = erlang:monotonic_time(millisecond),
            judged(py_guard:request(py_wire:request(Frame, Atoms), self(), Now, Next), Frame, State);
        _ ->
            doom({protocol, head(Frame)}, State)
    end.

judged({do, Harmless, Guard}, Frame, State) ->
    asked(Harmless, Frame, State#state{guard = Guard});
judged({drop, Guard}, _Frame, State) ->
    State#state{guard = Guard};
judged({warn, Text, Guard}, _Frame, State) ->
    logger:warning("~ts", [Text], metadata(State)),
    State#state{guard = Guard};
judged(doom, Frame, State) ->
    doom({protocol, head(Frame)}, State).

%% Of what it makes this process keep for it: answers that it does not read, calls that it does not answer, objects.
is_flooded(#state{calls = Calls, owners = Owners}) ->
    py_interpreter:unread_bytes(py_calls:interpreter(Calls)) > ?MOST_UNREAD_BYTES orelse
        py_calls:open_calls(Calls) > ?MOST_OPEN_CALLS orelse py_owners:count(Owners) > ?MOST_REFERENCES.

asked(Request, Frame, #state{calls = Calls, incarnation = Incarnation, config = #{callbacks := Callbacks}} = State) ->
    Context = #{group_leader => py_calls:leader(Calls), callbacks => Callbacks},
    case py_request:run(Request, {self(), Incarnation}, Context) of
        {output, Output} ->
            State#state{calls = py_calls:output(Output, byte_size(Frame) + 4, metadata(State), Calls)};
        {uncounted, Output} ->
            State#state{calls = py_calls:output(Output, 0, metadata(State), Calls)};
        {own, Id, Made} ->
            {Ids, Names} = lists:partition(fun is_integer/1, Made),
            Owner = py_calls:owner(Id, Calls),
            Names =:= [] orelse py_shared_owner:own(Owner, py_calls:from(Id, Calls), Names),
            own(Owner, Ids, State);
        {later, Id} ->
            State#state{calls = py_calls:later(Id, Calls)};
        {told, Id} ->
            State#state{calls = py_calls:told(Id, Calls)};
        {importing, Id} ->
            State#state{calls = py_calls:importing(Id, Calls)};
        {alone, Id} ->
            State#state{calls = py_calls:alone(Id, Calls)};
        {asked, Id, Running} ->
            State#state{calls = py_calls:asked(Id, Running, Calls)};
        {dropped, Id} ->
            case py_calls:dropped(Id, Calls) of
                {ok, Left} -> State#state{calls = Left, guard = py_guard:answered(State#state.guard)};
                error -> State
            end;
        error ->
            doom({protocol, head(Frame)}, State)
    end.

%% Nobody will see the result of a call that was cancelled.
own(_Owner, [], State) -> State;
own(nobody, Ids, State) -> forget(Ids, State);
own(Owner, Ids, #state{owners = Owners} = State) -> State#state{owners = py_owners:own(Owner, Ids, Owners)}.

forget([], State) -> State;
forget(Ids, State) -> internal(released, py_wire:body('erl.calls.references', release, [Ids]), State).

%%% A new interpreter for an old one

recycle_used(#state{config = #{max_calls := infinity}} = State) ->
    State;
recycle_used(#state{config = #{max_calls := Most}, calls = Calls} = State) ->
    %% The worker's own calls are counted, too: a few more or less are no matter.
    case py_calls:sent(Calls) > Most of
        true -> recycle_serving(State);
        false -> State
    end.

%% One that holds three quarters of what it may have is replaced before it gets no more; not a session's, which would lose what
%% it is there for. A call that runs may need that much for itself, and give it back: so it is judged at its end.
look_at_memory(#state{phase = serving, config = #{scheduler := Scheduler, max_memory := Most}} = State) when
    is_integer(Most), Scheduler =/= none
->
    case {holds_most(State), py_calls:open_calls(State#state.calls)} of
        {true, 0} -> recycle_serving(State);
        {true, _} when State#state.large_since =:= never -> State#state{large_since = erlang:monotonic_time(millisecond)};
        {true, _} -> State;
        {false, _} -> State#state{large_since = never}
    end;
look_at_memory(State) ->
    State.

%% A call has ended. Where coroutines go on, one of them may hold it: as long as that is not for long.
recycle_large(#state{large_since = Since, phase = serving, calls = Calls, config = #{drain_timeout := Patience}} = State) when
    is_integer(Since)
->
    Now = erlang:monotonic_time(millisecond),
    case py_calls:coroutines(Calls) of
        0 -> recycle_if_large(State);
        _ when Now - Since > Patience -> recycle_if_large(State);
        _ -> State
    end;
recycle_large(State) ->
    State.

recycle_if_large(State) ->
    case holds_most(State) of
        true -> recycle_serving(State);
        false -> State#state{large_since = never}
    end.

holds_most(#state{config = #{max_memory := Most}} = State) ->
    case own_bytes(State) of
        Bytes when is_integer(Bytes) -> Bytes > Most * 3 div 4;
        undefined -> false
    end.

recycle_serving(#state{phase = serving, config = #{drain_timeout := Timeout}, calls = Calls} = State) ->
    event([worker, recycle], #{}, State),
    Recycling = State#state{phase = recycling, calls = py_calls:hold(Calls)},
    emptied(report(drain_timer(recycle, Timeout, Recycling)));
recycle_serving(State) ->
    State.

%% The last open call has ended.
emptied(#state{phase = Phase, calls = Calls} = State) when Phase =:= recycling; Phase =:= draining ->
    case py_calls:open_calls(Calls) of
        0 when Phase =:= recycling -> set_timer(recycle, ?LEAVE_MS, ask_to_leave(State));
        0 -> drained(ok, State);
        _ -> State
    end;
emptied(State) ->
    State.

ask_to_leave(State) -> internal(leave, py_wire:body('erl.calls.worker', leave, []), State).

%%% A worker that is taken away

drain(From, Timeout, #state{phase = Phase, calls = Calls, load = Load, slot = Slot, starters = Starters} = State) ->
    py_registry:delete_slot(Load, Slot),
    py_registry:delete_worker(self()),
    [gen_server:reply(Starter, {error, stopped}) || Starter <- Starters],
    Draining = State#state{
        drainer = From, phase = draining, calls = py_calls:give_back_waiting(py_calls:hold(Calls)), starters = []
    },
    case Phase of
        _ when Phase =:= serving; Phase =:= recycling -> emptied(drain_timer(drain, Timeout, Draining));
        _ -> drained(ok, stop_timer(Draining))
    end.

drain_timer(_Event, infinity, State) -> stop_timer(State);
drain_timer(Event, Timeout, State) -> set_timer(Event, Timeout, State).

drained(_Result, #state{drainer = undefined} = State) ->
    State;
drained(Result, #state{drainer = Drainer} = State) ->
    gen_server:reply(Drainer, Result),
    stop_timer(State#state{drainer = undefined}).

%%% Death

%% Kill the interpreter; what it dies of is the reason, not the signal. A port that never says that it ended (its program
%% could not even be started) is given up after a while.
doom(Reason, #state{calls = Calls} = State) ->
    Interpreter = py_calls:interpreter(Calls),
    case Interpreter =:= undefined orelse py_interpreter:is_doomed(Interpreter) of
        false -> set_timer(gone, ?GONE_MS, updated(py_interpreter:kill(Reason, Interpreter), State));
        true -> State
    end.

timer(launch, State) ->
    launch(State);
timer(drained, #state{calls = Calls} = State) ->
    case py_interpreter:reason(py_calls:interpreter(Calls)) of
        %% It lives on, and can't be talked to.
        closed -> doom(closed, State);
        Reason -> died(Reason, State)
    end;
timer(gone, #state{calls = Calls} = State) ->
    died(py_interpreter:reason(py_calls:interpreter(Calls)), State);
timer(start_timeout, #state{config = #{start_timeout := Timeout}, calls = Calls} = State) ->
    doom({start, {no_answer, py_interpreter:python(py_calls:interpreter(Calls)), Timeout}}, State);
timer(recycle, State) ->
    doom(recycled, State);
timer(drain, State) ->
    drained(timeout, State).

died(Cause, #state{calls = Calls, owners = Owners} = State) ->
    Reason = reason(Cause, State),
    Begun = begun(py_calls:interpreter(Calls), State),
    %% After what it said that its callers own.
    py_shared_owner:ended(),
    event([worker, down], #{}, State, #{reason => Reason}),
    Down = (stop_timer(State))#state{
        calls = py_calls:detach(py_calls:fail_sent(Begun, {error, {worker_down, Reason}}, Calls)),
        owners = py_owners:clear(Owners),
        last_down = Reason,
        large_since = never
    },
    case State of
        #state{phase = recycling} -> launch(Down);
        #state{phase = draining} -> drained(ok, Down);
        _ -> replace(Reason, Down)
    end.

%% The last that is asked of an interpreter.
begun(undefined, _State) ->
    0;
begun(Interpreter, State) ->
    Begun = py_interpreter:begun(Interpreter),
    close(Interpreter, State),
    Begun.

%% One that ended before it served is asked why, by another start.
reason({start, _} = Reason, _State) ->
    Reason;
reason(_Ended, #state{phase = starting, config = Config, calls = Calls}) ->
    Python = py_interpreter:python(py_calls:interpreter(Calls)),
    {start, {failed, Python, py_launcher:diagnose(Config, Python)}};
reason({exit_status, 0, _}, #state{phase = recycling}) ->
    recycled;
reason(Reason, _State) ->
    Reason.

replace(Reason, #state{budget = Budget, is_excused = IsExcused, starters = Starters, calls = Calls} = State) ->
    {Next, Delay, Left} =
        case IsExcused of
            true -> py_restart:excused(Budget);
            false -> py_restart:died(erlang:monotonic_time(millisecond), Budget)
        end,
    %% Whoever waits for the first start is told, and tells.
    Starters =/= [] orelse log_death(Reason, Delay, State),
    [gen_server:reply(Starter, {error, Reason}) || Starter <- Starters],
    %% One that has never served, and whose starter was told, is taken away.
    IsNew = Starters =/= [] andalso State#state.codec =:= undefined,
    Down = set_timer(launch, if IsNew -> max(Delay, ?TAKEN_AWAY_MS); true -> Delay end, State#state{phase = Next, budget = Left, is_excused = false, starters = []}),
    case Next of
        restarting -> report(Down);
        degraded -> report(Down#state{calls = py_calls:fail_waiting({error, {worker_down, Reason}}, Calls)})
    end.

log_death(Reason, Delay, #state{pool = Pool, slot = Slot} = State) ->
    Text = py_error:text({py, {worker_down, Reason}}),
    logger:warning("worker ~w of pool ~tp: ~ts; the next start is in ~w ms", [Slot, Pool, Text, Delay], metadata(State)).

set_timer(Event, Ms, State) -> (stop_timer(State))#state{timer = erlang:start_timer(Ms, self(), Event)}.

stop_timer(#state{timer = undefined} = State) ->
    State;
stop_timer(#state{timer = Timer} = State) ->
    _ = erlang:cancel_timer(Timer),
    State#state{timer = undefined}.

%%% Reports

report(State) -> report(0, State).

%% How many calls it has in hand when this many have been answered.
report(_Answers, #state{phase = draining} = State) ->
    State;
report(Answers, #state{load = Load, slot = Slot, phase = Phase, calls = Calls} = State) ->
    py_registry:report_load(Load, Slot, max(0, py_calls:load(Calls) - Answers), Phase =:= serving),
    State.

event(Name, Measurements, State) -> event(Name, Measurements, State, #{}).

event(Name, Measurements, State, Metadata) ->
    py_events:emit(Name, Measurements, maps:merge(metadata(State), Metadata)).

metadata(#state{pool = Pool} = State) -> #{pool => Pool, worker => self(), os_pid => os_pid(State)}.

os_pid(#state{calls = Calls}) ->
    case py_calls:interpreter(Calls) of
        undefined -> undefined;
        Interpreter -> py_interpreter:os_pid(Interpreter)
    end.

memory_bytes(#state{calls = Calls}) ->
    case py_calls:interpreter(Calls) of
        undefined -> undefined;
        Interpreter -> py_interpreter:memory_bytes(Interpreter)
    end.

%% Of what max_memory bounds.
own_bytes(#state{calls = Calls}) ->
    case py_calls:interpreter(Calls) of
        undefined -> undefined;
        Interpreter -> py_interpreter:own_bytes(Interpreter)
    end.

info_map(#state{calls = Calls, owners = Owners, incarnation = Incarnation} = State) ->
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

uptime(#state{phase = serving, since = Since}) -> erlang:monotonic_time(millisecond) - Since;
uptime(_) -> 0.

%% Enough of a bad frame to see what it was.
head(Frame) -> binary:part(Frame, 0, min(64, byte_size(Frame))).
