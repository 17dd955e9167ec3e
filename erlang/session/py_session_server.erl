%%% @doc The process of a session: what is to be sent next, whose turn it is, and which worker it has.
%%%
%%% It calls no Python and runs no code of the user's, so it always answers. Whoever evaluates asks for a turn, does the
%%% calls in its own process (see {@link py_session_turn}) and says how they ended:
%%%
%%% ```
%%% > {turn, Timeout}      {ok, Turn}: this caller has the session to itself; {error, Reason}
%%% > started              the namespace of this turn is there
%%% > init_blocks          those that `init' has made, once it has run
%%% > initialised          {ok, Blocks}: the others
%%% > {over, How}          done, closed (done, and the session ends), lost (the namespace is gone)
%%% '''
%%%
%%% A turn ends with its caller, too. Whatever a turn was given is not given again.
%%% @private
-module(py_session_server).
-behaviour(gen_server).

-export([start_link/1, ask/2]).
-export([init/1, handle_continue/2, handle_call/3, handle_cast/2, handle_info/2, terminate/2, format_status/1]).
-export_type([argument/0, block/0, turn/0, status/0, init_fun/0]).

-type argument() :: #{
    options := py_session_options:session(),
    config := py_config:pool(),
    init => undefined | init_fun(),
    snapshot => py_secret:secret(),
    not_copied => [{string(), string()}]
}.
-type init_fun() :: fun((py_session:session()) -> term()).
-type block() :: {define, binary(), term()} | {exec, binary()} | {eval, binary()}.
-type turn() :: #{
    worker := pid(),
    token := pos_integer(),
    %% What is to be done first: make the namespace, from a snapshot perhaps, and run `init'.
    start := ready | empty | binary(),
    init := undefined | init_fun(),
    blocks := [block()],
    timeout := timeout(),
    kill_after := non_neg_integer(),
    mapping := map(),
    persistent := boolean(),
    %% Whether its Python is in a sandbox.
    boxed := boolean(),
    %% The group leader while the turn lasts, and what it is for.
    io := undefined | pid(),
    streams := [output | input],
    %% One that `init' takes while it runs.
    nested := boolean()
}.
-type status() :: #{atom() => term()}.

-record(turn, {caller :: pid(), monitor :: reference(), fresh :: boolean(), phase :: init | run}).

-record(state, {
    options :: py_session_options:session(),
    config :: py_config:pool(),
    lease = undefined :: undefined | py_pool:lease(),
    failure = undefined :: undefined | term(),
    init :: undefined | init_fun(),
    is_initialised :: boolean(),
    snapshot :: undefined | binary(),
    not_copied :: [{string(), string()}],
    %% The number of the namespace in Python, where there is one.
    token = undefined :: undefined | pos_integer(),
    turn = undefined :: undefined | #turn{},
    waiting = queue:new() :: queue:queue({gen_server:from(), Deadline :: integer() | infinity, undefined | reference()}),
    %% Newest first.
    pending = [] :: [block()],
    of_init = [] :: [block()],
    %% What stands in for the group leader of who has a turn.
    io = undefined :: undefined | pid(),
    idle_timer = undefined :: undefined | reference(),
    restarts = 0 :: non_neg_integer(),
    turns = 0 :: non_neg_integer(),
    since = erlang:monotonic_time(millisecond) :: integer()
}).

%% How long a worker process that was killed is waited for, and the pause between two looks.
-define(REPLACED_MS, 1_000).
-define(PAUSE_MS, 5).

-spec start_link(argument()) -> gen_server:start_ret().
start_link(Argument) -> gen_server:start_link(?MODULE, Argument, []).

%% @doc Ask a session of this node or another one; `session_closed' where there is none any more.
-spec ask(pid(), Request :: term()) -> term() | {error, session_closed | {node_down, node()}}.
ask(Pid, Request) ->
    try
        gen_server:call(Pid, Request, infinity)
    catch
        exit:{{nodedown, Node}, _} -> {error, {node_down, Node}};
        exit:_ -> {error, session_closed}
    end.

-spec init(argument()) -> {ok, #state{}, {continue, lease}}.
init(#{options := #{owner := Owner} = Options, config := Config} = Argument) ->
    _ = monitor(process, Owner),
    Snapshot = py_secret:reveal(maps:get(snapshot, Argument, undefined)),
    State = #state{
        options = Options,
        config = Config,
        init = maps:get(init, Argument, undefined),
        is_initialised = Snapshot =/= undefined,
        snapshot = Snapshot,
        not_copied = maps:get(not_copied, Argument, []),
        io = py_session_io:start_link(maps:with([output, input], Options), Owner)
    },
    {ok, idling(State), {continue, lease}}.

-spec handle_continue(lease, #state{}) -> {noreply, #state{}}.
handle_continue(lease, #state{config = Config} = State) ->
    case py_sessions:lease(Config) of
        {ok, Lease} -> {noreply, State#state{lease = Lease}};
        {error, Reason} -> {noreply, State#state{failure = Reason}}
    end.

-spec handle_call(term(), gen_server:from(), #state{}) ->
    {noreply, #state{}} | {reply, term(), #state{}} | {stop, normal, term(), #state{}}.
handle_call(ready, _From, #state{failure = undefined} = State) ->
    {reply, ok, State};
handle_call(ready, _From, #state{failure = Reason} = State) ->
    {stop, normal, {error, Reason}, State};
handle_call({turn, _}, {Caller, _}, #state{turn = #turn{caller = Caller, phase = init}, of_init = Blocks} = State) ->
    {reply, granted(worker(State), Blocks, true, State), State#state{of_init = []}};
handle_call({turn, Timeout}, From, #state{options = #{timeout := Default}} = State) ->
    {noreply, next(wait(From, if Timeout =:= default -> Default; true -> Timeout end, State))};
handle_call({add, Block}, {Caller, _}, #state{turn = #turn{caller = Caller, phase = init}, of_init = Blocks} = State) ->
    {reply, ok, State#state{of_init = [Block | Blocks]}};
handle_call({add, Block}, _From, #state{pending = Blocks} = State) ->
    {reply, ok, State#state{pending = [Block | Blocks]}};
handle_call({timeout, Timeout}, _From, #state{options = Options} = State) ->
    {reply, ok, State#state{options = Options#{timeout := Timeout}}};
handle_call({init, Fun}, _From, State) ->
    {reply, ok, State#state{init = Fun}};
handle_call(init_blocks, {Caller, _}, #state{turn = #turn{caller = Caller}, of_init = Blocks} = State) ->
    {reply, lists:reverse(Blocks), State#state{of_init = []}};
handle_call(initialised, {Caller, _}, #state{turn = #turn{caller = Caller} = Turn, pending = Blocks} = State) ->
    {reply, lists:reverse(Blocks), State#state{turn = Turn#turn{phase = run}, is_initialised = true, pending = []}};
handle_call({over, closed}, {Caller, _}, #state{turn = #turn{caller = Caller}} = State) ->
    {stop, normal, ok, State};
handle_call({over, How}, {Caller, _}, #state{turn = #turn{caller = Caller}} = State) ->
    {reply, ok, over(How, State)};
handle_call(copy, _From, #state{options = Options, config = Config, init = Init} = State) ->
    {reply, #{options => Options, config => Config, init => Init}, State};
handle_call(status, _From, State) ->
    {reply, status(State), State};
%% Nothing runs that this turn is not, as none is given meanwhile: the next one can't meet the signal.
handle_call(interrupt, _From, #state{turn = undefined} = State) ->
    {reply, ok, State};
handle_call(interrupt, _From, #state{lease = Lease} = State) ->
    {_, OsPid} = now_at(Lease),
    ok = py_launcher:interrupt_by_hand(OsPid),
    {reply, ok, State};
handle_call(close, _From, State) ->
    {stop, normal, ok, State};
handle_call(_Request, _From, State) ->
    {reply, {error, unknown_request}, State}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast({started, Caller, Token}, #state{turn = #turn{caller = Caller}} = State) ->
    {noreply, State#state{token = Token, snapshot = undefined}};
handle_cast({over, Caller, How}, #state{turn = #turn{caller = Caller}} = State) ->
    {noreply, over(How, State)};
handle_cast(_Message, State) ->
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}} | {stop, normal, #state{}}.
handle_info({'DOWN', Monitor, process, _, _}, #state{turn = #turn{monitor = Monitor}} = State) ->
    {noreply, over(done, State)};
handle_info({'DOWN', _, process, Owner, _}, #state{options = #{owner := Owner}} = State) ->
    {stop, normal, State};
handle_info({timeout, Timer, idle}, #state{idle_timer = Timer} = State) ->
    {stop, normal, State};
handle_info({timeout, Timer, turn}, #state{waiting = Waiting} = State) ->
    Left = queue:filter(
        fun
            ({From, _, T}) when T =:= Timer ->
                gen_server:reply(From, {error, timeout}),
                false;
            (_) ->
                true
        end,
        Waiting
    ),
    {noreply, State#state{waiting = Left}};
handle_info(_Message, State) ->
    {noreply, State}.

%% What was defined and not sent yet is in it.
-spec format_status(gen_server:format_status()) -> gen_server:format_status().
format_status(Status) -> py_excerpt:status(Status).

-spec terminate(term(), #state{}) -> ok.
terminate(_Reason, _State) -> py_sessions:leave().

%%% Idleness

idling(#state{turn = undefined, options = #{idle := Idle}} = State) when is_integer(Idle) ->
    (awake(State))#state{idle_timer = erlang:start_timer(Idle, self(), idle)};
idling(State) ->
    awake(State).

awake(#state{idle_timer = undefined} = State) -> State;
awake(#state{idle_timer = Timer} = State) ->
    _ = erlang:cancel_timer(Timer),
    State#state{idle_timer = undefined}.

%%% Turns

wait(From, infinity, #state{waiting = Waiting} = State) ->
    State#state{waiting = queue:in({From, infinity, undefined}, Waiting)};
wait(From, Timeout, #state{waiting = Waiting} = State) ->
    Deadline = py_deadline:after_ms(Timeout),
    State#state{waiting = queue:in({From, Deadline, erlang:start_timer(Timeout, self(), turn)}, Waiting)}.

next(#state{turn = undefined, waiting = Waiting} = State) ->
    case queue:out(Waiting) of
        {{value, {{Caller, _} = From, Deadline, Timer}}, Left} ->
            _ = is_reference(Timer) andalso erlang:cancel_timer(Timer),
            grant(From, Caller, Deadline, State#state{waiting = Left});
        {empty, _} ->
            idling(State)
    end;
next(State) ->
    awake(State).

grant(From, Caller, Deadline, State) ->
    case worker(State) of
        {ok, Worker} ->
            Turn = turn(Worker, py_deadline:left_ms(Deadline), State),
            #{start := Start, init := Init} = Turn,
            gen_server:reply(From, {ok, Turn}),
            given(Init, (awake(State))#state{
                turns = State#state.turns + 1,
                turn = #turn{
                    caller = Caller,
                    monitor = monitor(process, Caller),
                    fresh = Start =/= ready,
                    phase = if Init =:= undefined -> run; true -> init end
                }
            });
        gone ->
            case py_sessions:lease(State#state.config) of
                {ok, Lease} when State#state.token =:= undefined ->
                    grant(From, Caller, Deadline, State#state{lease = Lease});
                {ok, Lease} ->
                    gen_server:reply(From, {error, {session_restarted, replaced}}),
                    next(lost(State#state{lease = Lease}));
                {error, Reason} ->
                    gen_server:reply(From, {error, Reason}),
                    next(State)
            end
    end.

%% With an `init' they come after it.
given(undefined, State) -> State#state{pending = []};
given(_Init, State) -> State.

turn(Worker, Timeout, #state{token = Token, init = Init, is_initialised = IsInitialised} = State) ->
    #state{options = #{persistent := Persistent, binaries := Binaries}, config = #{kill_after := KillAfter} = Config} = State,
    #{
        worker => Worker,
        token => if Token =:= undefined -> erlang:unique_integer([positive]); true -> Token end,
        start =>
            case State of
                #state{token = undefined, snapshot = undefined} -> empty;
                #state{token = undefined, snapshot = Snapshot} -> Snapshot;
                _ -> ready
            end,
        init => if IsInitialised -> undefined; true -> Init end,
        blocks => lists:reverse(State#state.pending),
        timeout => Timeout,
        kill_after => KillAfter,
        mapping => (py_mapping:of_pool(Config))#{binaries => Binaries},
        persistent => Persistent,
        boxed => maps:get(sandbox, Config) =/= none,
        io => State#state.io,
        streams => [Which || Which <- [output, input], is_map_key(Which, State#state.options)],
        nested => false
    }.

granted({ok, Worker}, Blocks, true, #state{token = Token, options = #{timeout := Timeout}} = State) when is_integer(Token) ->
    Turn = turn(Worker, Timeout, State),
    {ok, Turn#{init := undefined, blocks := lists:reverse(Blocks), nested := true}};
granted(_, _, _, _) ->
    {error, {session_restarted, replaced}}.

over(How, #state{turn = #turn{monitor = Monitor, fresh = IsFresh, phase = Phase}} = State) ->
    demonitor(Monitor, [flush]),
    Free = State#state{turn = undefined, of_init = []},
    next(
        case How of
            lost -> lost(Free);
            %% Half of an `init' is none: it begins again, where it began.
            done when Phase =:= init, IsFresh -> Free#state{token = undefined};
            done -> Free
        end
    ).

lost(#state{restarts = Restarts} = State) ->
    State#state{token = undefined, is_initialised = false, snapshot = undefined, restarts = Restarts + 1}.

%%% The worker

%% Its process may be another one than before; `gone': it was taken away from the session.
worker(State) -> worker(State, py_deadline:after_ms(?REPLACED_MS)).

worker(#state{lease = {Slot, Ticket}} = State, Until) ->
    Pool = py_session_options:pool(),
    case py_registry:is_open_slot(Pool, Slot, Ticket) andalso py_registry:worker(Pool, Slot) of
        {ok, Worker} ->
            {ok, Worker};
        false ->
            gone;
        error ->
            case py_deadline:is_over(Until) of
                false ->
                    receive after ?PAUSE_MS -> worker(State, Until) end;
                true ->
                    gone
            end
    end;
worker(#state{lease = undefined}, _Until) ->
    gone.

%%% Status

status(#state{options = #{owner := Owner, persistent := Persistent, timeout := Timeout}, lease = Lease} = State) ->
    {Worker, OsPid} = now_at(Lease),
    #{
        session => {'$py.session', self()},
        state => if State#state.turn =:= undefined -> idle; true -> busy end,
        owner => Owner,
        worker => Worker,
        os_pid => OsPid,
        persistent => Persistent,
        timeout => Timeout,
        sandbox => maps:get(sandbox, State#state.config),
        pending => length(State#state.pending),
        waiting => queue:len(State#state.waiting),
        calls => State#state.turns,
        restarts => State#state.restarts,
        age_ms => erlang:monotonic_time(millisecond) - State#state.since,
        not_copied => State#state.not_copied
    }.

now_at(undefined) ->
    {undefined, undefined};
now_at({Slot, Ticket}) ->
    Pool = py_session_options:pool(),
    case py_registry:is_open_slot(Pool, Slot, Ticket) andalso py_registry:worker(Pool, Slot) of
        {ok, Worker} ->
            case py_worker:info(Worker) of
                {ok, #{os_pid := OsPid}} -> {Worker, OsPid};
                {error, _} -> {undefined, undefined}
            end;
        _ ->
            {undefined, undefined}
    end.
