%%% @doc A pool as a child of somebody's own supervisor: it comes and goes with this process.
%%%
%%% The pool's processes stand below {@link py_pools_sup}, as those of all pools. {@link py_pool_owners} knows which pool is
%%% whose, and ends it where this process was killed. `docs/architecture.md' has the order of things.
%%% @private
-module(py_pool_owner).
-behaviour(gen_server).

-export([child_spec/2, start_link/2]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2, format_status/1]).

-record(state, {name :: py_config:pool_name(), config :: py_config:pool()}).

%% What stopping a pool takes beside its `drain_timeout': its workers are given 10 seconds.
-define(STOP_MS, 15_000).

%% @doc The specification of a child that is this pool; its options are checked.
-spec child_spec(py_config:pool_name(), py_config:pool()) -> supervisor:child_spec().
child_spec(Name, #{drain_timeout := Drain} = Config) ->
    #{
        id => {py, Name},
        start => {?MODULE, start_link, [Name, Config]},
        shutdown =>
            case Drain of
                infinity -> infinity;
                _ -> Drain + ?STOP_MS
            end
    }.

%% @doc Start the pool; returns when its workers serve. Errors: `{py, not_started}', `{py, {already_started, Pid}}',
%% `{py, {start, Name, Reason}}'.
-spec start_link(py_config:pool_name(), py_config:pool()) -> gen_server:start_ret().
start_link(Name, Config) ->
    case gen_server:start_link(?MODULE, {Name, Config}, []) of
        {error, {shutdown, {py, _} = Reason}} -> {error, Reason};
        Started -> Started
    end.

-spec init({py_config:pool_name(), py_config:pool()}) -> {ok, #state{}} | {stop, term()}.
init({Name, Config}) ->
    %% Its supervisor's order to end comes to `terminate/2'.
    process_flag(trap_exit, true),
    case py_pool_owners:start_pool(Name, Config) of
        ok -> {ok, #state{name = Name, config = Config}};
        %% Whoever asked is told; a crash report would say it once more.
        {error, {py, _} = Reason} -> {stop, {shutdown, Reason}}
    end.

-spec handle_call(term(), gen_server:from(), #state{}) -> {reply, term(), #state{}}.
handle_call(_Request, _From, State) -> {reply, {error, unknown_request}, State}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(_Message, State) -> {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}} | {stop, term(), #state{}}.
handle_info({py_pool_down, Name, Reason}, #state{name = Name} = State) ->
    {stop, {shutdown, {py, {pool_down, Name, Reason}}}, State};
handle_info(_Message, State) ->
    {noreply, State}.

-spec terminate(term(), #state{}) -> ok.
terminate(_Reason, #state{name = Name}) -> py_pool_owners:stop_pool(Name).

%% The options have an environment, which has secrets.
-spec format_status(gen_server:format_status()) -> gen_server:format_status().
format_status(Status) ->
    maps:map(fun(state, #state{name = Name}) -> Name; (_, Value) -> Value end, Status).
