%%% @doc A worker: the process that owns one port, and so one interpreter at a time.
%%%
%%% It routes and does not read: a call comes encoded from its caller, the answer goes back as it came, and only the
%%% frame's head is looked at. When the interpreter dies this process stays, answers what was open with
%%% `{worker_down, Why}', and starts the next one as its restart budget allows; the calls it has not sent yet wait for that.
%%%
%%% ```
%%%   starting -> serving -> restarting -> starting ...
%%%                  `-> degraded (calls fail at once) -> starting ...
%%% '''
%%%
%%% Messages, all from this application: `{py_call, Alias, Owner, GroupLeader, Body}', answered with
%%% `{Alias, {frame, Frame}}' or `{Alias, {error, Reason}}'; `{py_cancel, Alias}'; `{py_answer, Incarnation, Id, Frame}'
%%% from a process that ran a call of Python's.
-module(py_worker).
-behaviour(gen_server).

-export([call/4, cast/2, release/3, await_start/1, info/1, distrust/2]).
-export([start_link/4]).
-export([init/1, handle_continue/2, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).
-export_type([down_reason/0, info/0]).

-type down_reason() ::
    {exit_status, 0..255} | {signal, 1..127} | {deadline, killed} | {protocol, binary()} | {start, term()} | closed | stopped | restarting.
%% Why a worker lost its interpreter.
-type info() :: #{
    worker := pid(),
    pool := py_config:pool_name(),
    os_pid := non_neg_integer() | undefined,
    state := starting | serving | restarting | degraded,
    codec := native | reference | undefined,
    calls := non_neg_integer(),
    in_flight := non_neg_integer(),
    references := non_neg_integer(),
    restarts := non_neg_integer(),
    uptime_ms := non_neg_integer()
}.

-record(state, {
    pool :: py_config:pool_name(),
    slot :: py_table:slot(),
    load :: py_table:load(),
    config :: py_config:pool(),
    phase = starting :: starting | serving | restarting | degraded,
    python = undefined :: undefined | file:filename_all(),
    port = undefined :: undefined | port(),
    channel = undefined :: undefined | py_channel:channel(),
    os_pid = undefined :: undefined | non_neg_integer(),
    exit = #{status => undefined, eof => false} :: #{status := undefined | non_neg_integer(), eof := boolean()},
    doom = undefined :: undefined | down_reason(),
    codec = undefined :: undefined | native | reference,
    incarnation = 0 :: non_neg_integer(),
    calls :: py_inflight:calls(),
    waiting :: queue:queue(tuple()),
    owners :: py_owners:owners(),
    budget :: py_restart:budget(),
    last_down = restarting :: down_reason(),
    timer = undefined :: undefined | reference(),
    kill_timer = undefined :: undefined | {py_wire:id(), reference()},
    starters = [] :: [gen_server:from()],
    served = 0 :: non_neg_integer(),
    since = 0 :: integer()
}).

%% How long an interpreter that has ended may take to deliver what is left in the pipe, and how long one that serves
%% nothing may take to leave when it is asked to.
-define(DRAIN_MS, 200).
-define(LARGE_BYTES, 1 bsl 20).
-define(LEAVE_MS, 1_000).
%% How long the port of a killed interpreter may take to say so.
-define(GONE_MS, 5_000).

%%% For callers

%% @doc One call, from an encoded body to the answer's frame. `Timeout' covers waiting, sending and running; what the call
%% leaves in Python (references) belongs to `Owner'.
-spec call(pid(), py_wire:body(), timeout(), Owner :: pid()) ->
    {ok, binary()} | {error, timeout | {worker_down, term()}}.
call(Worker, Body, Timeout, Owner) ->
    Alias = monitor(process, Worker, [{alias, reply_demonitor}]),
    Worker ! {py_call, Alias, Owner, group_leader(), Body},
    receive
        {Alias, {frame, Frame}} -> {ok, Frame};
        {Alias, {error, _} = Error} -> Error;
        {'DOWN', Alias, process, _, Reason} -> {error, {worker_down, Reason}}
    after Timeout ->
        %% From here on nothing can arrive; what arrived just before still counts.
        demonitor(Alias, [flush]),
        receive
            {Alias, {frame, Frame}} -> {ok, Frame};
            {Alias, {error, _} = Error} -> Error
        after 0 ->
            Worker ! {py_cancel, Alias},
            {error, timeout}
        end
    end.

%% @doc A message for Python's message handler.
-spec cast(pid(), term()) -> ok.
cast(Worker, Message) -> gen_server:cast(Worker, {message, py_wire:message(Message)}).

%% @doc Forget references of one incarnation.
-spec release(pid(), Incarnation :: pos_integer(), [pos_integer()]) -> ok.
release(Worker, Incarnation, Ids) -> gen_server:cast(Worker, {release, Incarnation, Ids}).

%% @doc A caller could not read the frame this worker's Python sent: it is not trusted any longer.
-spec distrust(pid(), binary()) -> ok.
distrust(Worker, Frame) -> gen_server:cast(Worker, {distrust, Frame}).

%% @doc Wait until the worker serves for the first time, or for the reason why it does not.
-spec await_start(pid()) -> ok | {error, term()}.
await_start(Worker) ->
    try
        gen_server:call(Worker, await_start, infinity)
    catch
        exit:{Reason, _} -> {error, Reason}
    end.

%% @doc What the worker is doing; never waits for Python.
-spec info(pid()) -> {ok, info()} | {error, {worker_down, term()}}.
info(Worker) ->
    try
        {ok, gen_server:call(Worker, info, 5_000)}
    catch
        exit:{Reason, _} -> {error, {worker_down, Reason}}
    end.

%%% The process

-spec start_link(py_config:pool_name(), py_table:slot(), py_table:load(), py_config:pool()) -> gen_server:start_ret().
start_link(Pool, Slot, Load, Config) ->
    gen_server:start_link(?MODULE, {Pool, Slot, Load, Config}, [{spawn_opt, [{message_queue_data, off_heap}]}]).

-spec init(tuple()) -> {ok, #state{}, {continue, launch}}.
init({Pool, Slot, Load, #{restart := Restart} = Config}) ->
    process_flag(trap_exit, true),
    py_table:put_worker(Pool, Slot, self()),
    State = #state{
        pool = Pool,
        slot = Slot,
        load = Load,
        config = Config,
        calls = py_inflight:new(),
        waiting = queue:new(),
        owners = py_owners:new(),
        budget = py_restart:new(Restart)
    },
    {ok, report(State), {continue, launch}}.

-spec handle_continue(launch | {large, [binary()]}, #state{}) -> noreply().
handle_continue(launch, State) ->
    noreply(launch(State));
handle_continue({large, Frames}, State) ->
    %% The parts that a large frame was put together from are garbage only now, when no caller up the stack holds the
    %% state that had them; the frame's receiver is about to need the room.
    garbage_collect(),
    noreply_large(frames(Frames, State)).

-spec handle_call(term(), gen_server:from(), #state{}) -> noreply().
handle_call(await_start, From, #state{phase = starting, starters = Starters} = State) ->
    noreply(State#state{starters = [From | Starters]});
handle_call(Request, From, State) ->
    gen_server:reply(From, told(Request, State)),
    noreply(State).

told(await_start, #state{phase = serving}) -> ok;
told(await_start, #state{last_down = Reason}) -> {error, Reason};
told(info, State) -> info_map(State);
told(_Request, _State) -> {error, unknown_request}.

-type noreply() :: {noreply, #state{}} | {noreply, #state{}, 0 | hibernate | {continue, {large, [binary()]}}}.

-spec handle_cast(term(), #state{}) -> noreply().
handle_cast({message, Frame}, #state{phase = serving} = State) ->
    noreply(write(Frame, State));
handle_cast({release, Incarnation, Ids}, #state{incarnation = Incarnation, phase = serving, owners = Owners} = State) ->
    noreply(forget(Ids, State#state{owners = py_owners:release(Ids, Owners)}));
handle_cast({distrust, Frame}, #state{port = Port} = State) when Port =/= undefined ->
    noreply(doom({protocol, head(Frame)}, State));
handle_cast(_Message, State) ->
    noreply(State).

-spec handle_info(term(), #state{}) -> noreply().
handle_info({py_call, Alias, Owner, Leader, Body}, State) ->
    Next = accept(#{from => Alias, owner => Owner, group_leader => Leader}, Body, State),
    case Body of
        [_] -> noreply(Next);
        [_ | _] -> noreply_large(Next)
    end;
handle_info({Port, {data, Data}}, #state{port = Port, channel = Channel} = State) ->
    case py_channel:data(Data, Channel) of
        {ok, [Frame | _] = Frames, Next} when byte_size(Frame) > ?LARGE_BYTES ->
            {noreply, State#state{channel = Next}, {continue, {large, Frames}}};
        {ok, Frames, Next} ->
            noreply(frames(Frames, State#state{channel = Next}));
        {error, Head} ->
            noreply(doom({protocol, Head}, State))
    end;
handle_info(timeout, State) ->
    {noreply, flush(State)};
handle_info({py_cancel, Alias}, State) ->
    noreply(cancel(Alias, State));
%% Python numbers its calls from 1 in each incarnation: an answer that comes late must not reach another one's.
handle_info({py_answer, Incarnation, Id, Frame}, #state{incarnation = Incarnation, port = Port, calls = Calls} = State) when
    Port =/= undefined
->
    noreply(watch_running(write(Frame, State#state{calls = py_inflight:told(Id, Calls)})));
handle_info({Port, {exit_status, Status}}, #state{port = Port, exit = Exit} = State) ->
    noreply(ended(State#state{exit = Exit#{status := Status}}));
handle_info({Port, eof}, #state{port = Port, exit = Exit} = State) ->
    noreply(ended(State#state{exit = Exit#{eof := true}}));
handle_info({'EXIT', Port, _}, #state{port = Port, os_pid = OsPid} = State) ->
    %% A write to a pipe that nobody reads closes the port, and no exit status comes any more.
    py_launcher:kill(OsPid),
    noreply(died(reason(State), State));
handle_info({timeout, Timer, Event}, #state{timer = Timer} = State) ->
    noreply(timer(Event, State#state{timer = undefined}));
handle_info({timeout, Timer, kill}, #state{kill_timer = {Id, Timer}, calls = Calls} = State) ->
    case py_inflight:running(Calls) of
        {Id, _} -> noreply(doom({deadline, killed}, State#state{kill_timer = undefined}));
        _ -> noreply(unwatched(State))
    end;
handle_info({'DOWN', _Monitor, process, Pid, _}, #state{owners = Owners} = State) ->
    {Ids, Left} = py_owners:down(Pid, Owners),
    noreply(forget(Ids, State#state{owners = Left}));
handle_info(_Message, State) ->
    %% Answers to I/O requests, and the last words of a port that is gone.
    noreply(State).

%% What is pending is written when the mailbox is empty: then `timeout' comes at once.
noreply(#state{channel = undefined} = State) ->
    {noreply, State};
noreply(#state{channel = Channel} = State) ->
    case py_channel:is_pending(Channel) of
        true -> {noreply, State, 0};
        false -> {noreply, State}
    end.

%% A large binary that only passed through must not wait for this process's next collection of garbage.
noreply_large(State) -> {noreply, flush(State), hibernate}.

frames(Frames, State) -> report(lists:foldl(fun frame/2, State, Frames)).

frame(_Frame, #state{doom = Doom} = State) when Doom =/= undefined ->
    State;
frame(Frame, State) ->
    case py_wire:route(Frame) of
        {answer, Id} -> answer(Id, Frame, State);
        request -> request(Frame, State)
    end.

-spec terminate(term(), #state{}) -> ok.
terminate(_Reason, State) ->
    py_table:delete_worker(self()),
    #state{port = Port} = Failed = fail_all(stopped, State),
    case Port of
        undefined -> ok;
        _ -> leave(State, Failed)
    end.

%% An interpreter that is busy has no right to be asked twice.
leave(#state{phase = serving, calls = Calls}, #state{port = Port, os_pid = OsPid} = State) ->
    Grace =
        case py_inflight:size(Calls) of
            0 ->
                _ = flush(write(py_wire:call(16#7fffffff, py_wire:body('erl.server', leave, [])), State)),
                ?LEAVE_MS;
            _ ->
                0
        end,
    await_exit(Port, OsPid, Grace, State);
leave(_, #state{port = Port, os_pid = OsPid} = State) ->
    await_exit(Port, OsPid, 0, State).

last_words(Data, #state{channel = Channel} = State) ->
    case py_channel:data(Data, Channel) of
        {ok, Frames, Next} ->
            Requests = [Frame || Frame <- Frames, py_wire:route(Frame) =:= request],
            lists:foldl(fun request/2, State#state{channel = Next}, Requests);
        {error, _} ->
            State
    end.

await_exit(Port, OsPid, Grace, State) ->
    receive
        {Port, {exit_status, _}} -> ok;
        {'EXIT', Port, _} -> py_launcher:kill(OsPid);
        {Port, {data, Data}} ->
            %% Its exit handlers may print and log.
            await_exit(Port, OsPid, Grace, last_words(Data, State))
    after Grace ->
        py_launcher:kill(OsPid),
        receive
            {Port, {exit_status, _}} -> ok
        after ?LEAVE_MS -> ok
        end
    end.

%%% Starting an interpreter

launch(#state{config = Config} = State) ->
    case py_launcher:find(Config) of
        {ok, _Source, Python} ->
            case py_launcher:open(Config, Python) of
                {ok, Port, OsPid} ->
                    Channel = py_channel:new(Port),
                    configure(State#state{python = Python, port = Port, channel = Channel, os_pid = OsPid});
                {error, Reason} -> died({start, Reason}, State)
            end;
        {error, Reason} ->
            died({start, Reason}, State)
    end.

configure(#state{config = Config, incarnation = Before} = State) ->
    #{start_timeout := Timeout, pickle := Pickle, log_level := Level, encoders := Encoders, decoders := Decoders} =
        Config,
    Settings = #{
        wire => py_wire:version(),
        worker => self(),
        incarnation => Before + 1,
        key => py_key:get(),
        pickle => Pickle,
        flags => py_term:flags(maps:with([strings, dicts], Config#{binaries => bytes})) bor 4,
        log_level => Level,
        encoders => Encoders,
        decoders => Decoders
    },
    Started = State#state{
        phase = starting,
        incarnation = Before + 1,
        exit = #{status => undefined, eof => false},
        doom = undefined,
        calls = py_inflight:new(),
        timer = erlang:start_timer(Timeout, self(), start_timeout)
    },
    send(internal(configure), py_wire:body('erl.server', configure, [Settings]), Started).

internal(Step) -> #{from => Step, owner => self(), group_leader => group_leader()}.

%% Its first answer says that it understands us; then comes `on_start', then the calls that waited.
started(configure, {ok, Report}, #state{config = #{on_start := OnStart}} = State) when is_list(Report) ->
    Configured = State#state{codec = proplists:get_value(codec, Report)},
    case OnStart of
        undefined ->
            serve(Configured);
        {Module, Function, Args} ->
            Body = py_wire:body('erl.objects', call, [0, Module, Function, Args, []]),
            send(internal(on_start), Body, Configured)
    end;
started(on_start, {ok, _Value}, State) ->
    serve(State);
started(Step, {error, Error}, State) ->
    doom({start, {Step, Error}}, State);
started(_Step, _Unreadable, State) ->
    doom({start, unreadable_answer}, State).

serve(#state{waiting = Waiting, starters = Starters} = State) ->
    Serving = stop_timer(State#state{
        phase = serving, waiting = queue:new(), starters = [], since = erlang:monotonic_time(millisecond)
    }),
    [gen_server:reply(Starter, ok) || Starter <- Starters],
    report(send_waiting(Waiting, Serving)).

%%% Calls

accept(Call, Body, #state{phase = serving, kill_timer = undefined, doom = undefined, exit = #{status := undefined, eof := false}} = State) ->
    report(send(Call, Body, State));
accept(#{from := From}, _Body, #state{phase = degraded, last_down = Reason} = State) ->
    reply(From, {error, {worker_down, Reason}}),
    report(State);
%% Also while Python is being killed or has ended, or it is open whether it will be killed: what it has not been sent it
%% can't take along.
accept(Call, Body, #state{waiting = Waiting} = State) ->
    report(State#state{waiting = queue:in({Call, Body}, Waiting)}).

send(Call, Body, #state{calls = Calls} = State) ->
    {Id, More} = py_inflight:add(Call, Calls),
    write(py_wire:call(Id, Body), State#state{calls = More}).

write(Frame, #state{channel = Channel} = State) -> State#state{channel = py_channel:write(Frame, Channel)}.

flush(#state{channel = undefined} = State) -> State;
flush(#state{channel = Channel} = State) -> State#state{channel = py_channel:flush(Channel)}.

answer(Id, Frame, #state{calls = Calls, served = Served} = State) ->
    case py_inflight:answer(Id, Calls) of
        {#{from := released}, Left} ->
            State#state{calls = Left};
        {#{from := Step}, Left} when is_atom(Step) ->
            started(Step, py_wire:answer(Frame), State#state{calls = Left});
        {#{from := From}, Left} ->
            reply(From, {frame, Frame}),
            watch_running(State#state{calls = Left, served = Served + 1});
        error ->
            doom({protocol, head(Frame)}, State)
    end.

reply(From, Answer) ->
    From ! {From, Answer},
    ok.

cancel(From, #state{calls = Calls, waiting = Waiting} = State) ->
    case py_inflight:cancel(From, Calls) of
        {_, Marked} ->
            watch_running(State#state{calls = Marked});
        not_found ->
            Wanted = fun({#{from := Other}, _}) -> Other =/= From end,
            report(State#state{waiting = queue:filter(Wanted, Waiting)})
    end.

%% A call that nobody waits for any more may run `kill_after' longer; the ones behind it have waited enough by then.
watch_running(#state{kill_timer = undefined, calls = Calls, config = #{kill_after := After}} = State) ->
    case py_inflight:running(Calls) of
        {Id, #{cancelled := true}} -> State#state{kill_timer = {Id, erlang:start_timer(After, self(), kill)}};
        _ -> State
    end;
watch_running(#state{kill_timer = {Id, Timer}, calls = Calls} = State) ->
    case py_inflight:running(Calls) of
        {Id, _} ->
            State;
        _ ->
            _ = erlang:cancel_timer(Timer),
            unwatched(State)
    end.

%% The call that nobody wanted is over. The next may be another such; what waited goes on unless it is.
unwatched(State) ->
    case watch_running(State#state{kill_timer = undefined}) of
        #state{kill_timer = undefined, waiting = Waiting} = Free -> send_waiting(Waiting, Free#state{waiting = queue:new()});
        Watched -> Watched
    end.

send_waiting(Waiting, State) ->
    lists:foldl(fun({Call, Body}, S) -> send(Call, Body, S) end, State, queue:to_list(Waiting)).

%%% What Python asks of Erlang

request(Frame, State) ->
    Context = context(State),
    case py_wire:request(Frame) of
        {print, Text} ->
            py_request:print(Text, Context),
            State;
        {message, Self, {'$py.own', Id, Ids}} when Self =:= self(), is_integer(Id), length(Ids) >= 0 ->
            own(Id, Ids, State);
        {message, Self, {'$py.log', {Level, _, _, _, _} = Record}} when Self =:= self(), is_atom(Level) ->
            py_request:log(Record, Context),
            State;
        {message, To, Message} ->
            py_request:deliver(To, Message),
            State;
        {call, Id, _, _, _, _} = Call ->
            py_request:call(Call, {self(), State#state.incarnation}, Context),
            watch_running(State#state{calls = py_inflight:asked(Id, State#state.calls)});
        {handler_error, Error} ->
            logger:error("Python's message handler failed: ~ts", [py_error:text(Error)], maps:get(metadata, Context)),
            State;
        error ->
            doom({protocol, head(Frame)}, State)
    end.

%% Nobody will see the result of a call that was cancelled.
own(Id, Ids, #state{calls = #{open := Open}, owners = Owners} = State) ->
    case Open of
        #{Id := #{cancelled := true}} -> forget(Ids, State);
        #{Id := #{owner := Owner}} -> State#state{owners = py_owners:own(Owner, Ids, Owners)};
        #{} -> State#state{owners = py_owners:own(self(), Ids, Owners)}
    end.

context(#state{calls = Calls, pool = Pool, os_pid = OsPid}) ->
    Leader =
        case py_inflight:running(Calls) of
            {_, #{group_leader := Of}} -> Of;
            none -> group_leader()
        end,
    #{group_leader => Leader, metadata => #{pool => Pool, worker => self(), os_pid => OsPid}}.

forget([], State) -> State;
forget(Ids, State) ->
    send(internal(released), py_wire:body('erl.references', release, [Ids]), State).

%%% Death

%% Kill the interpreter; what it dies of is the reason, not the signal. A port that never says that it ended (its program
%% could not even be started) is given up after a while.
doom(Reason, #state{doom = undefined, os_pid = OsPid} = State) ->
    py_launcher:kill(OsPid),
    (stop_timer(State))#state{doom = Reason, timer = erlang:start_timer(?GONE_MS, self(), gone)};
doom(_Reason, State) ->
    State.

%% The exit status and the end of the pipe come in any order. A process that keeps a copy of the pipe may keep it
%% open, and an interpreter that closed its own may live on: neither is waited for long.
ended(#state{exit = #{status := Status, eof := true}} = State) when Status =/= undefined ->
    died(reason(State), State);
ended(State) ->
    (stop_timer(State))#state{timer = erlang:start_timer(?DRAIN_MS, self(), drained)}.

timer(launch, State) ->
    launch(State);
timer(drained, #state{exit = #{status := undefined}} = State) ->
    ended(doom(closed, State));
timer(Event, State) when Event =:= drained; Event =:= gone ->
    died(reason(State), State);
timer(start_timeout, #state{config = #{start_timeout := Timeout}} = State) ->
    doom({start, {timeout, Timeout}}, State).

reason(#state{doom = {start, {timeout, Timeout}}, python = Python}) ->
    {start, {no_answer, Python, Timeout}};
reason(#state{doom = Doom}) when Doom =/= undefined ->
    Doom;
reason(#state{phase = starting, python = Python, config = Config}) ->
    {start, {failed, Python, py_launcher:diagnose(Config, Python)}};
reason(#state{exit = #{status := undefined}}) ->
    closed;
reason(#state{exit = #{status := Status}}) when Status > 128 ->
    {signal, Status - 128};
reason(#state{exit = #{status := Status}}) ->
    {exit_status, Status}.

died(Reason, #state{port = Port, budget = Budget, starters = Starters} = State) ->
    catch port_close(Port),
    {Next, Delay, Left} = py_restart:died(erlang:monotonic_time(millisecond), Budget),
    %% Whoever waits for the first start is told, and tells.
    Starters =/= [] orelse log_death(Reason, Delay, State),
    [gen_server:reply(Starter, {error, Reason}) || Starter <- Starters],
    Failed = fail_open({worker_down, Reason}, stop_timer(State)),
    Down = Failed#state{
        phase = Next,
        port = undefined,
        channel = undefined,
        os_pid = undefined,
        budget = Left,
        last_down = Reason,
        owners = py_owners:clear(State#state.owners),
        starters = [],
        timer = erlang:start_timer(Delay, self(), launch)
    },
    case Next of
        restarting -> report(Down);
        degraded -> report(fail_waiting({worker_down, Reason}, Down))
    end.

log_death(Reason, Delay, #state{pool = Pool, slot = Slot} = State) ->
    Text = py_error:text({py, {worker_down, Reason}}),
    logger:warning("worker ~w of pool ~tp: ~ts; the next start is in ~w ms", [Slot, Pool, Text, Delay],
        maps:get(metadata, context(State))).

fail_all(Why, State) -> fail_waiting({worker_down, Why}, fail_open({worker_down, Why}, State)).

fail_open(Error, #state{calls = Calls} = State) ->
    lists:foreach(
        fun(From) -> reply(From, {error, Error}) end,
        [From || #{from := From} <- py_inflight:all(Calls), is_reference(From)]
    ),
    State#state{calls = py_inflight:new(), kill_timer = undefined}.

fail_waiting(Error, #state{waiting = Waiting} = State) ->
    lists:foreach(fun({#{from := From}, _}) -> reply(From, {error, Error}) end, queue:to_list(Waiting)),
    State#state{waiting = queue:new()}.

stop_timer(#state{timer = undefined} = State) ->
    State;
stop_timer(#state{timer = Timer} = State) ->
    _ = erlang:cancel_timer(Timer),
    State#state{timer = undefined}.

%%% Reports

report(#state{load = Load, slot = Slot, phase = Phase, calls = Calls, waiting = Waiting} = State) ->
    py_table:report_load(Load, Slot, py_inflight:size(Calls) + queue:len(Waiting), Phase =:= serving),
    State.

info_map(#state{calls = Calls, waiting = Waiting, incarnation = Incarnation} = State) ->
    #{
        worker => self(),
        pool => State#state.pool,
        os_pid => State#state.os_pid,
        state => State#state.phase,
        codec => State#state.codec,
        calls => State#state.served,
        in_flight => py_inflight:size(Calls) + queue:len(Waiting),
        references => py_owners:count(State#state.owners),
        restarts => max(0, Incarnation - 1),
        uptime_ms => uptime(State)
    }.

uptime(#state{phase = serving, since = Since}) -> erlang:monotonic_time(millisecond) - Since;
uptime(_) -> 0.

%% Enough of a bad frame to see what it was.
head(Frame) -> binary:part(Frame, 0, min(64, byte_size(Frame))).
