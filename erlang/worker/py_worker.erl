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
%%% Messages, all from this application: `{py_call, Alias, Caller, Owner, GroupLeader, Body}', or `py_free_call' where another
%%% worker may have it, answered with `{Alias, {frame, Frame}}', `{Alias, {frame, Frame, Budget}}' or `{Alias, {error, Reason}}';
%%% where somebody listens to events an answer that Python gave is `{timed, Answer, WaitUs, RunUs}'; `{py_cancel, Alias, Why}'; `{py_answer, Incarnation, Id, Frame}' from a process that ran a call of Python's; `py_idle' from another
%%% worker of the pool, that has nothing to do.
%%%
%%% Here is what callers use, and the process with its mailbox. What messages come to is in modules of their own: `py_routing' has
%%% what passes through, `py_starting', `py_draining' and `py_incarnations' the phases, `py_worker_state' what all of them need, and
%%% `py_calls' what becomes of single calls.
%%% @private
-module(py_worker).
-behaviour(gen_server).

-export([call/5, ask/5, cast/2, release/3, ask_start/1, told_start/1, info/1, box_os_pid/1, mounted/1, ask_info/1, told_info/2, ask_running/1, told_running/2, distrust/2, recycle/1, recycle/2, drain/2]).
-export([start_link/5]).
-export([init/1, handle_continue/2, handle_call/3, handle_cast/2, handle_info/2, terminate/2, format_status/1]).
-export_type([info/0, kind/0]).

-include("py_worker.hrl").

-type info() :: py_worker_state:info().
-type kind() :: free | bound.
%% Whether another worker may have the call.

%% How long an interpreter that has ended may take to deliver what is left in the pipe.
-define(DRAIN_MS, 200).
-define(LARGE_BYTES, 1 bsl 20).
-define(IS_CALL(Kind), (Kind =:= py_free_call orelse Kind =:= py_call)).
%% How many calls are taken out of the mailbox in one step.
-define(AT_ONCE, 64).
%% The pause between two looks for a worker process that is being replaced.
-define(REPLACED_MS, 5).
%% How long a worker that has nothing to do waits before it looks.
-define(IDLE_MS, 2).

%%% For callers

%% @doc One call, from an encoded body to the answer's frame. `Timeout' covers waiting, sending and running; what the call
%% leaves in Python (references) belongs to `Owner'. With a budget the frame is a sandboxed Python's. `moved': it was not begun, and
%% another worker may have it; a free one comes back so, too, where another worker has nothing to do.
-spec call(kind(), pid(), py_wire:body(), timeout(), py_owners:owner()) ->
    {ok, binary()} | {ok, binary(), py_atoms:budget()} | {error, moved | timeout | overload | {worker_down, term()}}.
call(Kind, Worker, Body, Timeout, Owner) ->
    Alias = ask(Kind, Worker, Body, Owner, group_leader()),
    receive
        {Alias, Answer} -> given(Answer, Worker);
        {'DOWN', Alias, process, _, Reason} -> {error, ended(Reason)}
    after Timeout ->
        %% From here on nothing can arrive; what arrived just before still counts.
        demonitor(Alias, [flush]),
        receive
            {Alias, Answer} -> given(Answer, Worker)
        after 0 ->
            Worker ! {py_cancel, Alias, timeout},
            {error, timeout}
        end
    end.

given({frame, Frame}, _Worker) ->
    {ok, Frame};
given({frame, Frame, Budget}, _Worker) ->
    {ok, Frame, Budget};
given({error, _} = Error, _Worker) ->
    Error;
given({timed, Answer, WaitUs, RunUs}, Worker) ->
    py_events:timed(Worker, WaitUs, RunUs),
    given(Answer, Worker).

%% @doc The same without waiting: the answer is a message to the calling process, or the `DOWN' of the worker, with this reference.
-spec ask(kind(), pid(), py_wire:body(), py_owners:owner(), Leader :: pid()) -> reference().
ask(Kind, Worker, Body, Owner, Leader) ->
    Alias = monitor(process, Worker, [{alias, reply_demonitor}]),
    Worker ! {message_of(Kind), Alias, self(), Owner, Leader, Body},
    Alias.

message_of(free) -> py_free_call;
message_of(bound) -> py_call.

%% A worker that stops answers every call that it has read: this one has not been read, nor has one of a worker that was
%% gone before.
ended(noproc) ->
    %% Its supervisor replaces it, and may be busy: a caller that looks for another one must not keep a core so.
    receive after ?REPLACED_MS -> moved end;
ended(shutdown) -> moved;
ended({shutdown, _}) -> moved;
ended(Reason) -> {worker_down, Reason}.

%% @doc A message for Python's message handler. `overload': of a worker on another node that takes nothing.
-spec cast(pid(), term()) -> ok | {error, overload}.
cast(Worker, Message) when node(Worker) =/= node() -> py_outbox:send(Worker, {py_cast, {message, py_wire:message(Message)}});
cast(Worker, Message) -> gen_server:cast(Worker, {message, py_wire:message(Message)}).

%% @doc Forget references of one incarnation.
-spec release(pid(), Incarnation :: pos_integer(), [pos_integer()]) -> ok.
release(Worker, Incarnation, Ids) when node(Worker) =/= node() -> py_outbox:post(Worker, {py_cast, {release, Incarnation, Ids}});
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

%% @doc The number of what has made the box of its interpreter; `undefined' where there is none now.
-spec box_os_pid(pid()) -> non_neg_integer() | undefined.
box_os_pid(Worker) ->
    try
        gen_server:call(Worker, box_os_pid, 5_000)
    catch
        exit:_ -> undefined
    end.

%% @doc What its interpreter has in its box that {@link recycle/2} has said.
-spec mounted(pid()) -> [py_sandbox:mount()].
mounted(Worker) ->
    try
        gen_server:call(Worker, mounted, 5_000)
    catch
        exit:_ -> []
    end.

%% @doc Ask the worker what runs now; never waits for Python.
-spec ask_running(pid()) -> gen_server:request_id().
ask_running(Worker) -> gen_server:send_request(Worker, running).

%% @doc What it says until this time of the monotonic clock, in milliseconds; `error' where that is nothing.
-spec told_running(gen_server:request_id(), EndMs :: integer()) -> {ok, py_worker_state:running()} | error.
told_running(Request, EndMs) -> said(Request, EndMs).

%% @doc Like {@link info/1}, in two steps: many can be asked at once.
-spec ask_info(pid()) -> gen_server:request_id().
ask_info(Worker) -> gen_server:send_request(Worker, info).

-spec told_info(gen_server:request_id(), EndMs :: integer()) -> {ok, info()} | error.
told_info(Request, EndMs) -> said(Request, EndMs).

said(Request, EndMs) ->
    case gen_server:receive_response(Request, max(0, EndMs - erlang:monotonic_time(millisecond))) of
        {reply, Said} -> {ok, Said};
        _ -> error
    end.

%% @doc Give it a new interpreter as soon as its open calls have ended; answers when that one serves, or with why it does
%% not.
-spec recycle(pid()) -> gen_server:request_id().
recycle(Worker) -> gen_server:send_request(Worker, recycle).

%% @doc The same; the new interpreter has these mounts in its box, and the one after it has not. {@link info/1} says what it has.
-spec recycle(pid(), [py_sandbox:mount()]) -> gen_server:request_id().
recycle(Worker, Mounts) -> gen_server:send_request(Worker, {recycle, Mounts}).

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
            py_registry:report_kept(Load, Slot, 0),
            {ok, py_worker_state:report(py_worker_state:new(Pool, Slot, Ticket, Load, Config)), {continue, first_launch}};
        false ->
            {ok, py_worker_state:new(Pool, Slot, Ticket, Load, Config), {continue, unwanted}}
    end.

-spec handle_continue(first_launch | unwanted, #state{}) ->
    noreply() | {stop, {shutdown, unwanted}, #state{}}.
handle_continue(first_launch, State) ->
    py_incarnations:close_left(State),
    noreply(py_incarnations:launch(State));
handle_continue(unwanted, State) ->
    py_incarnations:close_left(State),
    %% The worker died while it was being taken away, and its supervisor knows nothing of that.
    {stop, {shutdown, unwanted}, State}.

-spec handle_call(term(), gen_server:from(), #state{}) -> noreply().
handle_call(await_start, From, #state{phase = starting, starters = Starters} = State) ->
    noreply(State#state{starters = [From | Starters]});
handle_call({recycle, Mounts}, From, #state{phase = Phase} = State) ->
    %% One that starts already starts without.
    handle_call(recycle, From, State#state{mounts = if Phase =:= starting -> []; true -> Mounts end});
handle_call(recycle, From, #state{phase = Phase, starters = Starters} = State) when
    Phase =:= starting; Phase =:= serving; Phase =:= recycling
->
    noreply(py_draining:recycle_serving(State#state{starters = [From | Starters]}));
handle_call(recycle, From, #state{phase = Phase} = State) when Phase =:= restarting; Phase =:= degraded ->
    noreply(py_incarnations:launch((py_worker_state:stop_timer(State))#state{starters = [From]}));
handle_call({drain, Timeout}, From, State) ->
    noreply(py_draining:drain(From, Timeout, State));
handle_call(Request, From, State) ->
    gen_server:reply(From, told(Request, State)),
    noreply(State).

told(await_start, #state{phase = serving}) -> ok;
told(Request, #state{phase = draining}) when Request =:= await_start; Request =:= recycle -> {error, stopped};
told(Request, #state{last_down = Reason}) when Request =:= await_start; Request =:= recycle -> {error, Reason};
told(info, State) -> py_worker_state:info(State);
told(mounted, #state{mounted = Mounted}) -> Mounted;
told(box_os_pid, State) -> py_worker_state:box_os_pid(State);
told(running, State) -> py_worker_state:running(State);
told(_Request, _State) -> {error, unknown_request}.

-type noreply() :: {noreply, #state{}} | {noreply, #state{}, 0 | ?IDLE_MS | hibernate}.

-spec handle_cast(term(), #state{}) -> noreply().
handle_cast({message, Frame}, #state{phase = serving, calls = Calls} = State) ->
    noreply(State#state{calls = py_calls:write(Frame, Calls)});
handle_cast({release, Incarnation, Ids}, #state{incarnation = Incarnation, phase = serving, owners = Owners} = State) ->
    noreply(py_worker_state:forget(Ids, State#state{owners = py_owners:release(Ids, Owners)}));
handle_cast({distrust, Frame}, State) ->
    noreply(py_worker_state:doom({protocol, py_worker_state:head(Frame)}, State));
handle_cast(_Message, State) ->
    noreply(State).

-spec handle_info(term(), #state{}) -> noreply() | {stop, term(), #state{}}.
handle_info({Kind, _, _, _, _, [_, _ | _]} = Large, State) when ?IS_CALL(Kind) ->
    noreply_large(py_routing:accept(Large, State));
handle_info({Kind, _, _, _, _, _} = First, State) when ?IS_CALL(Kind) ->
    case take_calls(First, most_at_once(State)) of
        {Calls, none} -> {noreply, py_worker_state:flush(py_routing:accept_all(Calls, State))};
        {Calls, more} -> noreply(py_routing:accept_all(Calls, State));
        {Calls, {next, Message}} -> next(Message, py_routing:accept_all(Calls, State))
    end;
handle_info(timeout, State) ->
    {noreply, py_sharing:idled(py_worker_state:flush(State#state{is_stepping = false}))};
handle_info(py_idle, State) ->
    noreply(py_sharing:asked(State));
handle_info({py_cancel, Alias, Why}, #state{calls = Calls} = State) ->
    %% Also where the answer has been sent: it has not arrived.
    py_shared_owner:lost(Alias),
    noreply(py_worker_state:report(State#state{calls = py_calls:cancel(Alias, Why, Calls)}));
%% Python numbers its calls from 1 in each incarnation: an answer that comes late must not reach another one's.
handle_info({py_answer, Incarnation, Id, Frame}, #state{incarnation = Incarnation, calls = Calls, guard = Guard} = State) ->
    case py_calls:answered(Id, Frame, Calls) of
        {ok, Next} -> noreply(State#state{calls = Next, guard = py_guard:answered(Guard)});
        error -> noreply(State)
    end;
handle_info({timeout, _, {measure, Incarnation}}, State) ->
    noreply(py_starting:measure(Incarnation, State));
handle_info({timeout, Timer, Event}, #state{timer = Timer} = State) ->
    noreply(py_incarnations:timer(Event, State#state{timer = undefined}));
handle_info({timeout, Timer, stuck}, State) ->
    noreply(py_sharing:look_again(Timer, State));
handle_info({timeout, _, _} = Timeout, #state{calls = Calls} = State) ->
    case py_calls:timeout(Timeout, Calls) of
        {{kill, IsImporting}, Next} ->
            %% A sandboxed one may say that at any time.
            IsExcused = IsImporting andalso State#state.guard =:= undefined,
            noreply(py_worker_state:doom({deadline, killed}, State#state{calls = Next, is_excused = IsExcused}));
        {abandon, Next} -> noreply(py_draining:abandon(State#state{calls = Next}));
        {ok, Next} -> noreply(py_room:watched(py_filling:watched(py_sharing:watched(py_draining:look_at_memory(State#state{calls = Next})))));
        unknown -> noreply(State)
    end;
handle_info({py_cast, Message}, State) ->
    handle_cast(Message, State);
handle_info({'DOWN', Monitor, process, Pid, _}, #state{owners = Owners, calls = Calls} = State) ->
    {Ids, Left} = py_owners:down(Pid, Owners),
    noreply(py_worker_state:report(py_worker_state:forget(Ids, State#state{owners = Left, calls = py_calls:cancel(Monitor, cancelled, Calls)})));
handle_info(Message, #state{calls = Calls} = State) ->
    case py_calls:interpreter(Calls) of
        %% The last words of a port that is gone.
        undefined -> noreply(State);
        Interpreter -> interpreter(py_interpreter:message(Message, Interpreter), State)
    end.

interpreter({frames, Frames, Answers, Interpreter}, State) when byte_size(Frames) > ?LARGE_BYTES ->
    noreply_large(py_routing:frames(Frames, Answers, py_worker_state:updated(Interpreter, State)));
interpreter({frames, Frames, Answers, Interpreter}, State) ->
    noreply(py_routing:frames(Frames, Answers, py_worker_state:updated(Interpreter, State)));
interpreter({bad, Head, Interpreter}, State) ->
    noreply(py_worker_state:doom({protocol, Head}, py_worker_state:updated(Interpreter, State)));
interpreter({killed, Interpreter}, State) ->
    noreply(py_worker_state:set_timer(gone, ?GONE_MS, py_worker_state:updated(Interpreter, State)));
%% A process that keeps a copy of a pipe may keep it open, and an interpreter that closed its own may live on: neither is
%% waited for long.
interpreter({ending, Interpreter}, State) ->
    noreply(py_worker_state:set_timer(drained, ?DRAIN_MS, py_worker_state:updated(Interpreter, State)));
interpreter({ended, Interpreter}, State) ->
    noreply(py_incarnations:died(py_interpreter:reason(Interpreter), py_worker_state:updated(Interpreter, State)));
interpreter({none, Interpreter}, State) ->
    noreply(py_worker_state:updated(Interpreter, State));
interpreter(unknown, State) ->
    %% An answer to an I/O request.
    noreply(State).

%% What is pending is written when the mailbox is empty: then `timeout' comes at once.
noreply(#state{calls = Calls} = State) ->
    case py_calls:is_pending(Calls) of
        true -> {noreply, State, 0};
        false -> waiting(py_calls:load(Calls), State)
    end.

%% One that has had nothing to do for a while looks whether others have. No timer wakes those that are called meanwhile.
waiting(0, #state{phase = serving, has_asked = false} = State) -> {noreply, State, ?IDLE_MS};
waiting(_Load, State) -> {noreply, State}.

%% A large binary that only passed through must not wait for this process's next collection of garbage.
noreply_large(State) -> {noreply, py_worker_state:flush(State), hibernate}.

-spec terminate(term(), #state{}) -> ok.
terminate(_Reason, State) -> py_incarnations:terminate(State).

%% Calls that wait have their arguments in it.
-spec format_status(gen_server:format_status()) -> gen_server:format_status().
format_status(Status) -> py_excerpt:status(Status).

%% The calls that stand in the mailbox one after another, so that all are written at once; and the message behind them, which
%% must not be overtaken.
take_calls(First, Most) -> take_calls(Most - 1, [First], more).

take_calls(0, Calls, End) ->
    {lists:reverse(Calls), End};
take_calls(Most, Calls, _) ->
    receive
        {Kind, _, _, _, _, [_]} = Call when ?IS_CALL(Kind) -> take_calls(Most - 1, [Call | Calls], more);
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
