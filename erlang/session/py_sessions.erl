%%% @doc Which session has which worker, and the few that wait for one, warm.
%%%
%%% The workers are those of a pool of their own, which is started with the first session. A session's worker is taken away
%%% when the session's process ends, however it ends, and is nobody else's before. Once a session was opened, so many
%%% workers as the application's `sessions' option says are kept ready for the next ones: they have its options; a
%%% session that was opened with others waits for a worker of its own.
%%%
%%% What takes long (a worker that starts, or leaves) is waited for by a process of its own.
%%% @private
-module(py_sessions).
-behaviour(gen_server).

-export([start_link/0, lease/1, leave/0]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

-type waiter() :: {Session :: pid(), reference(), gen_server:from()}.

-record(state, {
    %% What the workers that are kept warm are started with, how many they are, and how many sessions there may be.
    config :: py_config:pool(),
    warm :: non_neg_integer(),
    max :: pos_integer(),
    ready = [] :: [py_pool:lease()],
    leases = #{} :: #{Session :: pid() => {reference(), py_pool:lease()}},
    waiting = queue:new() :: queue:queue(waiter()),
    %% Processes that start a worker: for whoever is next, for one session, or for one that has ended meanwhile.
    starting = #{} :: #{pid() => any | waiter() | nobody}
}).

-spec start_link() -> gen_server:start_ret().
start_link() ->
    py_predecessor:await_end(?MODULE),
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

%% @doc A worker with these options for the calling process, as long as that lives; the one that it had before is taken
%% away.
-spec lease(py_config:pool()) -> {ok, py_pool:lease()} | {error, py_error:reason()}.
lease(Config) ->
    try
        gen_server:call(?MODULE, {lease, Config}, infinity)
    catch
        exit:_ -> {error, not_started}
    end.

%% @doc The calling process is about to end: its worker is taken away, and another session may be opened.
-spec leave() -> ok.
leave() ->
    try
        gen_server:call(?MODULE, leave, infinity)
    catch
        exit:_ -> ok
    end.

-spec init([]) -> {ok, #state{}} | ignore.
init([]) ->
    %% The workers of a predecessor that was killed.
    _ = py_pools_sup:stop_pool(py_session_options:pool(), 0),
    case py_session_options:configured() of
        {ok, #{warm := Warm, max := Max}, Config} ->
            {ok, #state{config = Config, warm = Warm, max = Max}};
        {error, Reason} ->
            %% It was right when the application started. Who opens a session is told.
            logger:error("~ts", [py_error:text({py, Reason})]),
            ignore
    end.

-spec handle_call({lease, py_config:pool()}, gen_server:from(), #state{}) ->
    {noreply, #state{}} | {reply, ok | {error, term()}, #state{}}.
handle_call({lease, Config}, {Session, _} = From, State) ->
    Left = leave(Session, State),
    case has_room(Left) andalso pool(Left) of
        false ->
            {reply, {error, {too_many_sessions, Left#state.max}}, Left};
        {error, Reason} ->
            {reply, {error, Reason}, Left};
        {ok, Next} ->
            Waiter = {Session, monitor(process, Session), From},
            {noreply, wait(Waiter, Config, Next)}
    end;
handle_call(leave, {Session, _}, State) ->
    {reply, ok, leave(Session, State)};
handle_call(_Request, _From, State) ->
    {reply, {error, unknown_request}, State}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(_Message, State) -> {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}}.
handle_info({started, Starter, Result}, #state{starting = Starting} = State) when is_map_key(Starter, Starting) ->
    {For, Left} = maps:take(Starter, Starting),
    {noreply, started(Result, For, State#state{starting = Left})};
handle_info({'DOWN', _, process, Starter, Reason}, #state{starting = Starting} = State) when
    is_map_key(Starter, Starting)
->
    handle_info({started, Starter, {error, {py, {worker_down, Reason}}}}, State);
handle_info({'DOWN', _, process, Session, _}, State) ->
    {noreply, leave(Session, State)};
handle_info(_Message, State) ->
    {noreply, State}.

has_room(#state{leases = Leases, waiting = Waiting, starting = Starting, max = Max}) ->
    map_size(Leases) + queue:len(Waiting) + length([W || {_, _, _} = W <- maps:values(Starting)]) < Max.

%% The pool, which an operator may have stopped.
pool(#state{config = Config} = State) ->
    Name = py_session_options:pool(),
    case py_registry:pool(Name) of
        {ok, _} ->
            {ok, State#state{ready = [Lease || {Slot, Ticket} = Lease <- State#state.ready, is_open(Name, Slot, Ticket)]}};
        {error, {unknown_pool, _}} ->
            case py_pools_sup:start_pool(Name, Config) of
                {ok, _} -> {ok, State#state{ready = []}};
                {error, {py, Reason}} -> {error, Reason}
            end;
        {error, _} = Error ->
            Error
    end.

is_open(Name, Slot, Ticket) -> py_registry:is_open_slot(Name, Slot, Ticket).

wait(Waiter, Config, #state{config = Config, waiting = Waiting} = State) ->
    supply(State#state{waiting = queue:in(Waiter, Waiting)});
wait(Waiter, Config, State) ->
    start(Waiter, Config, State).

%% Those that wait come first: what is kept warm for later is started when nobody waits.
supply(#state{waiting = Waiting, ready = Ready, starting = Starting, warm = Warm, config = Config} = State) ->
    Underway = length([any || any <- maps:values(Starting)]),
    case {queue:out(Waiting), Ready} of
        {{{value, Waiter}, Left}, [Lease | Others]} ->
            supply(assign(Lease, Waiter, State#state{waiting = Left, ready = Others}));
        {{{value, _}, _}, []} ->
            start_some(queue:len(Waiting) - Underway, Config, State);
        {{empty, _}, _} ->
            start_some(Warm - length(Ready) - Underway, Config, State)
    end.

start_some(Count, Config, State) when Count > 0 -> start_some(Count - 1, Config, start(any, Config, State));
start_some(_Count, _Config, State) -> State.

start(For, Config, #state{starting = Starting} = State) ->
    Self = self(),
    {Starter, _} = spawn_monitor(fun() ->
        Self ! {started, self(), py_pool:lease(py_session_options:pool(), Config)}
    end),
    State#state{starting = Starting#{Starter => For}}.

started({ok, Lease}, any, #state{ready = Ready} = State) ->
    supply(State#state{ready = Ready ++ [Lease]});
started({ok, Lease}, nobody, State) ->
    give_back(Lease),
    State;
started({ok, Lease}, Waiter, State) ->
    assign(Lease, Waiter, State);
started({error, {py, Reason}}, any, #state{waiting = Waiting} = State) ->
    %% With nobody who could be told it is tried again when the next session is opened.
    case queue:out(Waiting) of
        {{value, Waiter}, Left} ->
            refuse(Reason, Waiter, State#state{waiting = Left});
        {empty, _} when element(3, Reason) =:= stopped ->
            State;
        {empty, _} ->
            logger:warning("no worker is kept warm for sessions: ~ts", [py_error:text({py, Reason})]),
            State
    end;
started({error, _}, nobody, State) ->
    State;
started({error, {py, Reason}}, Waiter, State) ->
    refuse(Reason, Waiter, State).

assign(Lease, {Session, Monitor, From}, #state{leases = Leases} = State) ->
    gen_server:reply(From, {ok, Lease}),
    State#state{leases = Leases#{Session => {Monitor, Lease}}}.

refuse(Reason, {_Session, Monitor, From}, State) ->
    demonitor(Monitor, [flush]),
    gen_server:reply(From, {error, Reason}),
    State.

%% A session has ended, or wants another worker.
leave(Session, #state{leases = Leases, waiting = Waiting, starting = Starting} = State) ->
    case maps:take(Session, Leases) of
        {{Monitor, Lease}, Left} ->
            demonitor(Monitor, [flush]),
            give_back(Lease),
            State#state{leases = Left};
        error ->
            State#state{
                waiting = queue:filter(fun({Pid, _, _}) -> Pid =/= Session end, Waiting),
                starting = maps:map(fun(_, For) -> for(For, Session) end, Starting)
            }
    end.

for({Session, _, _}, Session) -> nobody;
for(For, _Session) -> For.

give_back(Lease) ->
    _ = spawn(fun() -> py_pool:give_back(py_session_options:pool(), Lease) end),
    ok.
