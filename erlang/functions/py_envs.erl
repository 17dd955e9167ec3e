%%% @doc The server of environments: which are being built, for whom, and which have a pool.
%%%
%%% A request that has led to an environment before is a look-up. One that has not is built by a process of its own
%%% ({@link py_env_builder}); who asks for the same meanwhile waits for it. Runs ask, too, again and again as long as they wait; they get a pool.
%%% See "Environments" in docs/architecture.md.
%%% @private
-module(py_envs).
-behaviour(gen_server).

-export([start_link/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

-record(build, {
    pid = waits :: waits | pid(),
    environment :: py_env_spec:environment(),
    callers = [] :: [gen_server:from()],
    %% The server of runs, which waits for a pool.
    runs = none :: none | pid()
}).
-record(pool, {name :: py_config:pool_name(), key :: binary(), state :: starting | running | stopping, pid = none :: none | pid(), used_ms :: integer()}).
-record(state, {
    root :: file:filename_all(),
    is_open = false :: boolean(),
    builds = #{} :: #{Hash :: binary() => #build{}},
    waiting = [] :: [Hash :: binary()],
    pools = #{} :: #{Pool :: binary() => #pool{}},
    is_ticking = false :: boolean()
}).

-define(PREFIX, "env:").
-define(USED_MS, 5_000).
-define(LEAST_TICK_MS, 50).
-define(MOST_TICK_MS, 1_000).
-define(MOST_BUILDS, 1_000).

-spec start_link(StateDir :: file:filename_all()) -> gen_server:start_ret().
start_link(StateDir) -> gen_server:start_link({local, ?MODULE}, ?MODULE, StateDir, []).

-spec init(file:filename_all()) -> {ok, #state{}}.
init(StateDir) ->
    process_flag(trap_exit, true),
    {ok, taken_up(#state{root = filename:join(StateDir, "envs")})}.

%% The pools of a predecessor go on; what it had not finished is nobody's.
taken_up(State) ->
    There = py_registry:pools(),
    {Kept, Gone} = lists:partition(fun({_, Name, _, IsOpen}) -> IsOpen andalso lists:member(Name, There) end, py_env_pools:all()),
    _ = [py_env_pools:delete(Pool) || {Pool, _, _, _} <- Gone],
    Left = [Name || Name <- There, lists:prefix("py_env_", atom_to_list(Name)), not lists:keymember(Name, 2, Kept)],
    _ = Left =:= [] orelse spawn(fun() -> lists:foreach(fun py_env_pools:stop/1, Left) end),
    ticking(State#state{pools = maps:from_list([{Pool, #pool{name = Name, key = Key, state = running, used_ms = now_ms()}} || {Pool, Name, Key, _} <- Kept])}).

now_ms() -> erlang:monotonic_time(millisecond).

%%% Messages

-spec handle_call(term(), gen_server:from(), #state{}) -> {noreply, #state{}} | {reply, term(), #state{}}.
handle_call({build, Hash, Environment}, From, State) ->
    with_directory(fun(Open) -> asked(Hash, Environment, From, Open) end, State);
handle_call(list, _From, State) ->
    with_directory(fun(#state{root = Root} = Open) -> {reply, {ok, py_env_files:all(Root)}, Open} end, State);
handle_call({prune, UnusedMs, AreWheelsToo}, _From, #state{root = Root} = State) ->
    _ = AreWheelsToo andalso py_env_files:forget_wheels(Root),
    with_directory(fun(Open) -> {reply, {ok, pruned(UnusedMs, Open)}, Open} end, State);
handle_call(_Request, _From, State) ->
    {reply, {error, unknown_request}, State}.

%% There is none before somebody wants an environment.
with_directory(Fun, #state{is_open = true} = State) ->
    Fun(State);
with_directory(Fun, #state{root = Root} = State) ->
    case py_env_files:open(Root) of
        ok -> py_env_files:sweep(Root), Fun(State#state{is_open = true});
        {error, _} = Error -> {reply, Error, State}
    end.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(_Message, State) -> {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}}.
handle_info({want, Runs, <<?PREFIX, Hash/binary>> = Pool, Environment}, State) ->
    Wanted = fun(Open) -> {noreply, wanted(Pool, Hash, Environment, Runs, Open)} end,
    case with_directory(Wanted, State) of
        {noreply, _} = Next -> Next;
        {reply, {error, Error}, Same} -> told(Runs, Pool, {failed, Error}), {noreply, Same}
    end;
handle_info({built, Pid, Hash, Result}, State) ->
    {noreply, ended(Hash, Pid, Result, State)};
handle_info({started, Pid, Pool, Result}, State) ->
    {noreply, started(Pool, Pid, Result, State)};
handle_info({'EXIT', Pid, Reason}, State) ->
    {noreply, exited(Pid, Reason, State)};
handle_info(tick, State) ->
    {noreply, ticking(looked_after(State#state{is_ticking = false}))};
handle_info(_Message, State) ->
    {noreply, State}.

%%% Builds

asked(Hash, Environment, From, #state{builds = Builds} = State) ->
    case Builds of
        #{Hash := #build{callers = Callers} = Build} ->
            {noreply, State#state{builds = Builds#{Hash := Build#build{callers = [From | Callers]}}}};
        #{} when map_size(Builds) >= ?MOST_BUILDS ->
            {reply, {error, {py, {env, "there are 1000 environments to be built already"}}}, State};
        #{} ->
            case found(Hash, State) of
                {ok, Env, Warnings} -> {reply, {ok, Env, Warnings}, State};
                error -> {noreply, building(Hash, #build{environment = Environment, callers = [From]}, State)}
            end
    end.

%% One whose version is another than was asked for is looked up by a build, which sees what interpreters there are now.
found(Hash, #state{root = Root}) ->
    case py_env_files:request(Root, Hash) of
        {ok, #{key := Key} = Env, #{is_exact := true}} ->
            py_env_files:used(Root, Key),
            py_env_builder:refresh(Env),
            {ok, Env, []};
        _ ->
            error
    end.

building(Hash, Build, #state{builds = Builds, waiting = Waiting} = State) ->
    next(State#state{builds = Builds#{Hash => Build}, waiting = Waiting ++ [Hash]}).

next(#state{waiting = [Hash | Rest], builds = Builds, root = Root} = State) ->
    case length([1 || #build{pid = Pid} <- maps:values(Builds), is_pid(Pid)]) < py_env_spec:setting(builds) of
        true ->
            #{Hash := #build{environment = Environment} = Build} = Builds,
            Server = self(),
            Pid = spawn_link(fun() -> Server ! {built, self(), Hash, py_env_builder:build(Root, Hash, Environment)} end),
            next(State#state{waiting = Rest, builds = Builds#{Hash := Build#build{pid = Pid}}});
        false ->
            State
    end;
next(State) ->
    State.

ended(Hash, Pid, Result, #state{builds = Builds} = State) ->
    case maps:take(Hash, Builds) of
        {#build{pid = Pid, callers = Callers, runs = Runs}, Rest} ->
            _ = [gen_server:reply(From, Result) || From <- Callers],
            next(served(Runs, <<?PREFIX, Hash/binary>>, Result, State#state{builds = Rest}));
        _ ->
            State
    end.

served(none, _Pool, _Result, State) ->
    State;
served(Runs, Pool, {ok, Env, Warnings}, State) ->
    given(Pool, Env, Warnings, Runs, State);
served(Runs, Pool, {error, Error}, State) ->
    told(Runs, Pool, {failed, Error}),
    State.

exited(Pid, Reason, #state{builds = Builds, pools = Pools} = State) ->
    Hashes = [Hash || {Hash, #build{pid = Builder}} <- maps:to_list(Builds), Builder =:= Pid],
    Ended = [{Pool, Found} || {Pool, #pool{pid = Starter} = Found} <- maps:to_list(Pools), Starter =:= Pid],
    case {Hashes, Ended} of
        {[Hash], _} ->
            Text = lists:flatten(io_lib:format("the build ended before it had a result: ~tP", [Reason, 20])),
            ended(Hash, Pid, {error, {py, {env, Text}}}, State);
        {_, [{Pool, #pool{state = starting}}]} ->
            Text = lists:flatten(io_lib:format("the environment's pool did not start: ~tP", [Reason, 20])),
            started(Pool, Pid, {error, {py, {env, Text}}}, State);
        {_, [{Pool, #pool{state = stopping}}]} ->
            py_env_pools:delete(Pool),
            State#state{pools = maps:remove(Pool, Pools)};
        _ ->
            State
    end.

%%% Pools

started(Pool, Pid, Result, #state{pools = Pools} = State) ->
    case {Pools, Result} of
        {#{Pool := #pool{pid = Pid, state = starting} = Found}, ok} ->
            py_env_pools:open(Pool),
            told(py_runs, Pool, {ready, <<>>}),
            State#state{pools = Pools#{Pool := Found#pool{state = running, pid = none, used_ms = now_ms()}}};
        {#{Pool := #pool{pid = Pid, state = starting}}, {error, Error}} ->
            py_env_pools:delete(Pool),
            told(py_runs, Pool, {failed, Error}),
            State#state{pools = maps:remove(Pool, Pools)};
        _ ->
            State
    end.

wanted(Pool, Hash, Environment, Runs, #state{pools = Pools, builds = Builds} = State) ->
    case {Pools, Builds} of
        {#{Pool := #pool{state = running} = Found}, _} ->
            told(Runs, Pool, {ready, <<>>}),
            State#state{pools = Pools#{Pool := Found#pool{used_ms = now_ms()}}};
        %% It starts; or it ends, and is asked for again then.
        {#{Pool := _}, _} ->
            State;
        {_, #{Hash := Build}} ->
            told(Runs, Pool, building),
            State#state{builds = Builds#{Hash := Build#build{runs = Runs}}};
        _ ->
            case found(Hash, State) of
                {ok, Env, Warnings} ->
                    given(Pool, Env, Warnings, Runs, State);
                error ->
                    told(Runs, Pool, building),
                    building(Hash, #build{environment = Environment, runs = Runs}, State)
            end
    end.

told(Runs, Pool, What) ->
    _ = catch Runs ! {environment, Pool, What},
    ok.

%% As many pools as there may be: that which nobody has used for the longest time goes, and its place is asked for again.
given(Pool, #{key := Key, path := Path}, Warnings, Runs, #state{pools = Pools} = State) ->
    Taken = [Name || #pool{name = Name} <- maps:values(Pools)],
    told(Runs, Pool, {ready, iolist_to_binary(lists:join("; ", Warnings))}),
    case py_env_pools:names(py_env_spec:setting(pools)) -- Taken of
        [Name | _] ->
            py_env_pools:put(Pool, Name, Key),
            Options = py_env_spec:setting(pool),
            Server = self(),
            Pid = spawn_link(fun() -> Server ! {started, self(), Pool, py_env_pools:start(Name, Path, Options)} end),
            ticking(State#state{pools = Pools#{Pool => #pool{name = Name, key = Key, state = starting, pid = Pid, used_ms = now_ms()}}});
        [] ->
            Used = used(),
            Idle = [{Since, Each} || {Each, #pool{state = running, used_ms = Since}} <- maps:to_list(Pools), not is_used(Each, Used)],
            case lists:sort(Idle) of
                [{_, Longest} | _] -> let_go(Longest, State);
                [] -> State
            end
    end.

looked_after(#state{pools = Pools} = State) ->
    Used = used(),
    Now = now_ms(),
    Idle = py_env_spec:setting(idle),
    Touched = maps:map(fun(Pool, #pool{name = Name} = Found) ->
        case is_used(Pool, Used) orelse is_called(Name) of
            true -> Found#pool{used_ms = Now};
            false -> Found
        end
    end, Pools),
    Over = [Pool || {Pool, #pool{state = running, used_ms = Since}} <- maps:to_list(Touched), Now - Since >= Idle],
    lists:foldl(fun let_go/2, State#state{pools = Touched}, Over).

%% No new run goes there from the close on, as the server of runs finds it closed: so what it says after that stays true.
let_go(Pool, #state{pools = Pools} = State) ->
    #{Pool := #pool{name = Name} = Found} = Pools,
    py_env_pools:close(Pool),
    case is_used(Pool, used()) orelse is_called(Name) of
        true ->
            py_env_pools:open(Pool),
            State#state{pools = Pools#{Pool := Found#pool{used_ms = now_ms()}}};
        false ->
            Pid = spawn_link(fun() -> py_env_pools:stop(Name) end),
            State#state{pools = Pools#{Pool := Found#pool{state = stopping, pid = Pid}}}
    end.

is_used(Pool, Used) -> Used =:= unknown orelse lists:member(Pool, Used).

%% The pools that runs wait for or run in.
used() ->
    try gen_server:call(py_runs, pools, ?USED_MS)
    catch exit:_ -> unknown
    end.

is_called(Name) ->
    case py_registry:pool(Name) of
        {ok, #{load := Load, size := Size}} -> lists:any(fun(Slot) -> py_registry:in_hand(Load, Slot) > 0 end, lists:seq(1, Size));
        {error, _} -> false
    end.

ticking(#state{is_ticking = false, pools = Pools} = State) when map_size(Pools) > 0 ->
    Ms = max(?LEAST_TICK_MS, min(?MOST_TICK_MS, py_env_spec:setting(idle) div 4)),
    _ = erlang:send_after(Ms, self(), tick),
    State#state{is_ticking = true};
ticking(State) ->
    State.

%%% What is kept

%% Not what a pool of this node has, and not what is being built.
pruned(UnusedMs, #state{root = Root, pools = Pools}) ->
    Since = erlang:system_time(millisecond) - UnusedMs,
    Configs = [Config || {_, Config} <- py_registry:configs()],
    Kept = [Key || #pool{key = Key} <- maps:values(Pools)],
    Unused = [Key || #{key := Key, path := Path, used := Used} <- py_env_files:all(Root),
        UnusedMs =:= 0 orelse Used < Since, not lists:member(Key, Kept), not lists:any(fun(Config) -> py_env_files:is_used_by(Path, Config) end, Configs)],
    Gone = [Key || Key <- Unused, py_env_files:remove(Root, Key) =:= ok],
    py_env_files:forget_requests(Root),
    length(Gone).
