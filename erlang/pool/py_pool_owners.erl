%%% @doc Which pools belong to a process of somebody else's, a {@link py_pool_owner}, and what becomes of them when it ends.
%%%
%%% ```
%%%   (none) --claimed--> starting --started--> running --the owner ends, or says so--> stopping --> (none)
%%%                          `--failed--> (none)     `--the pool ends--> (none), the owner is told
%%% '''
%%%
%%% Whoever claims a name while its pool is stopping waits for that. This process waits for nothing: what takes time is done by
%%% processes that it starts. One that takes its place finds out from the table of pools and their supervisor.
%%% @private
-module(py_pool_owners).
-behaviour(gen_server).

-export([start_link/0, start_pool/2, stop_pool/1]).
-export([init/1, handle_continue/2, handle_call/3, handle_cast/2, handle_info/2]).

-record(owned, {
    owner :: pid(),
    owner_monitor :: reference(),
    phase = starting :: starting | {running, Sup :: pid(), reference()} | {stopping, pid(), reference()},
    %% Who is told that it has stopped, and who wants the name then.
    stoppers = [] :: [gen_server:from()],
    claimers = [] :: [gen_server:from()]
}).
-type state() :: #{py_config:pool_name() => #owned{}}.

-spec start_link() -> gen_server:start_ret().
start_link() ->
    py_predecessor:await_end(?MODULE),
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

%% @doc Start a pool that belongs to the calling process; returns when its workers serve.
-spec start_pool(py_config:pool_name(), py_config:pool()) -> ok | {error, {py, term()}}.
start_pool(Name, Config) ->
    case ask({claim, Name}) of
        ok ->
            case py_pools_sup:start_pool(Name, Config#{owner => self()}) of
                {ok, Sup} -> ask({started, Name, Sup});
                {error, _} = Error -> ok = ask({failed, Name}), Error
            end;
        {error, _} = Error ->
            Error
    end.

%% @doc Stop the calling process's pool; its open calls may end, for as long as its `drain_timeout'.
-spec stop_pool(py_config:pool_name()) -> ok.
stop_pool(Name) ->
    _ = ask({stop, Name}),
    ok.

ask(Request) ->
    try
        gen_server:call(?MODULE, Request, infinity)
    catch
        exit:{noproc, _} -> {error, {py, not_started}};
        exit:_ -> {error, {py, {worker_down, restarting}}}
    end.

-spec init([]) -> {ok, state(), {continue, found}}.
init([]) -> {ok, #{}, {continue, found}}.

%% Those of a predecessor. The supervisor, which waits for `init/1', answers now.
-spec handle_continue(found, state()) -> {noreply, state()}.
handle_continue(found, State) ->
    Sups = [{Name, Sup} || {Name, Sup, _, _} <- supervisor:which_children(py_pools_sup), is_pid(Sup)],
    {noreply, lists:foldl(
        fun({Name, Owner}, Acc) ->
            Owned = #owned{owner = Owner, owner_monitor = monitor(process, Owner)},
            case lists:keyfind(Name, 1, Sups) of
                {Name, Sup} -> Acc#{Name => running(Sup, Owned)};
                false -> ended(Name, Owned, killed, Acc)
            end
        end,
        State,
        [{Name, Owner} || {Name, #{owner := Owner}} <- py_registry:configs()]
    )}.

-spec handle_call(term(), gen_server:from(), state()) -> {reply, term(), state()} | {noreply, state()}.
handle_call({claim, Name}, {Owner, _} = From, State) ->
    case State of
        #{Name := #owned{phase = {stopping, _, _}, claimers = Claimers} = Owned} ->
            {noreply, State#{Name := Owned#owned{claimers = Claimers ++ [From]}}};
        #{Name := #owned{owner = Other}} ->
            {reply, {error, {py, {already_started, Other}}}, State};
        _ ->
            {reply, ok, State#{Name => claimed(Owner)}}
    end;
handle_call({started, Name, Sup}, {Owner, _}, State) ->
    case State of
        #{Name := #owned{owner = Owner, phase = starting} = Owned} -> {reply, ok, State#{Name := running(Sup, Owned)}};
        _ -> {reply, {error, {py, {worker_down, restarting}}}, State}
    end;
handle_call({failed, Name}, {Owner, _}, State) ->
    case State of
        #{Name := #owned{owner = Owner} = Owned} -> {reply, ok, without(Name, Owned, State)};
        _ -> {reply, ok, State}
    end;
handle_call({stop, Name}, {Owner, _} = From, State) ->
    case State of
        #{Name := #owned{owner = Owner, stoppers = Stoppers} = Owned} ->
            {noreply, State#{Name := stopping(Name, Owned#owned{stoppers = [From | Stoppers]})}};
        _ ->
            {reply, ok, State}
    end;
handle_call(_Request, _From, State) ->
    {reply, {error, unknown_request}, State}.

-spec handle_cast(term(), state()) -> {noreply, state()}.
handle_cast(_Message, State) -> {noreply, State}.

-spec handle_info(term(), state()) -> {noreply, state()}.
handle_info({'DOWN', Monitor, process, _, Reason}, State) ->
    case [Found || {_, Owned} = Found <- maps:to_list(State), is_of(Monitor, Owned)] of
        [{Name, #owned{owner_monitor = Monitor} = Owned}] -> {noreply, State#{Name := stopping(Name, Owned)}};
        [{Name, #owned{phase = {running, _, _}} = Owned}] -> {noreply, ended(Name, Owned, Reason, State)};
        [{Name, #owned{phase = {stopping, _, _}} = Owned}] -> {noreply, without(Name, Owned, State)};
        [] -> {noreply, State}
    end;
handle_info(_Message, State) ->
    {noreply, State}.

is_of(Monitor, #owned{owner_monitor = Monitor}) -> true;
is_of(Monitor, #owned{phase = {_, _, Monitor}}) -> true;
is_of(_, _) -> false.

claimed(Owner) -> #owned{owner = Owner, owner_monitor = monitor(process, Owner)}.

running(Sup, Owned) -> Owned#owned{phase = {running, Sup, monitor(process, Sup)}}.

%% An owner that was killed while it started a pool: the pool may be there, or come; the supervisor, which starts it, answers
%% after that. Or the name was taken, and nobody has said so.
stopping(_Name, #owned{phase = {stopping, _, _}} = Owned) ->
    Owned;
stopping(Name, #owned{owner = Owner, phase = Phase} = Owned) ->
    _ = [demonitor(Monitor, [flush]) || {running, _, Monitor} <- [Phase]],
    {Pid, Monitor} = spawn_monitor(fun() -> is_anothers(Name, Owner) orelse py_pools_sup:stop_pool(Name, default) end),
    Owned#owned{phase = {stopping, Pid, Monitor}}.

is_anothers(Name, Owner) ->
    case lists:keyfind(Name, 1, py_registry:configs()) of
        {Name, #{owner := Owner}} -> false;
        {Name, _} -> true;
        false -> false
    end.

%% A pool that ended by itself: callers must not look for it any longer, and its owner's supervisor decides.
ended(Name, #owned{owner = Owner} = Owned, Reason, State) ->
    true = py_registry:delete_pool(Name),
    Owner ! {py_pool_down, Name, Reason},
    without(Name, Owned, State).

without(Name, #owned{owner_monitor = Monitor, stoppers = Stoppers, claimers = Claimers}, State) ->
    demonitor(Monitor, [flush]),
    _ = [gen_server:reply(From, ok) || From <- Stoppers],
    case Claimers of
        [] ->
            maps:remove(Name, State);
        [{Owner, _} = First | Others] ->
            gen_server:reply(First, ok),
            _ = [gen_server:reply(From, {error, {py, {already_started, Owner}}}) || From <- Others],
            State#{Name => claimed(Owner)}
    end.
