%%% @doc One service: its port, its gateway, its replicas and its fronts, which come and go with this process.
%%%
%%% ```
%%%   starting -> ready -> draining
%%% '''
%%%
%%% No request passes here. "Services" in docs/architecture.md has who owns a request, and who may die when.
%%% @private
-module(py_service_server).
-behaviour(gen_server).

-export([config/2, start_link/2, await/1, url/1, service/1, info/1, drain/2, new/0]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2, format_status/1]).

-record(front, {
    os_pid = none :: none | pos_integer(),
    figures = #{} :: py_service_figures:figures(),
    is_ready = false :: boolean(),
    is_drained = false :: boolean()
}).
-record(state, {
    name :: binary(),
    service :: map(),
    config :: py_config:pool(),
    pool :: py_config:pool_name(),
    socket :: socket:socket(),
    token :: undefined | binary(),
    path :: file:filename(),
    phase = starting :: starting | ready | draining,
    replicas :: pid(),
    serves = false :: boolean(),
    fronts = #{} :: #{pid() => #front{}},
    retired :: py_service_figures:figures(),
    budget :: py_restart:budget(),
    failure = none :: none | {py, term()},
    waiting = [] :: [gen_server:from()],
    drain = none :: none | {gen_server:from(), Timer :: reference()}
}).

-define(POOLS, ?MODULE).
-define(MOST_SERVICES, 1_024).
-define(INFO_MS, 5_000).
%% The replicas' own: twenty deaths in a short time are a bad input, not a bad program.
-define(RESTART, #{max => 100, within => 10_000, delay => 50, max_delay => 5_000}).
-define(FRONT_RESTART, #{max => 20, within => 10_000, delay => 50, max_delay => 5_000}).
-define(SPARE_CONNECTIONS, 4).

%% @doc The table of the names of their pools; it belongs to the calling process.
-spec new() -> ok.
new() ->
    ?POOLS = ets:new(?POOLS, [named_table, public, set]),
    ok.

%% @doc The options of a service's pool, checked.
-spec config(Service :: map(), Pool :: map()) -> {ok, py_config:pool()} | {error, py_options:problem()}.
config(#{replicas := Replicas, threads := Threads, timeout := Timeout} = Service, Pool) ->
    Spec = #{
        handler => maps:get(handler, Service),
        source => maps:get(source, Service),
        init_function => maps:get(init_function, Service),
        init_parameters => maps:get(init_parameters, Service),
        log => maps:get(log, Service)
    },
    Own = #{
        size => Replicas,
        threads => Threads,
        call_timeout => Timeout,
        on_start => {'erl.serving.replica', start, [Spec]}
    },
    case py_pool_options:check(maps:merge(maps:merge(#{restart => ?RESTART}, Pool), Own)) of
        {ok, Config} -> {ok, Config#{numbered => true}};
        {error, _} = Error -> Error
    end.

-spec start_link(Service :: map(), py_config:pool()) -> gen_server:start_ret().
start_link(#{name := Name} = Service, Config) ->
    case gen_server:start_link(?MODULE, {Service, Config}, []) of
        {error, {shutdown, Text}} when is_list(Text) -> {error, {py, {service, Name, Text}}};
        {error, {shutdown, {py, _} = Reason}} -> {error, Reason};
        Started -> Started
    end.

%% @doc Wait until it is ready, or can't become it.
-spec await(pid()) -> ok | {error, {py, py_error:reason()}}.
await(Server) ->
    try
        gen_server:call(Server, await, infinity)
    catch
        exit:_ -> {error, {py, not_started}}
    end.

-spec url(pid()) -> {ok, binary()} | error.
url(Server) -> ask(Server, url).

%% @doc Where its requests go.
-spec service(pid()) -> {ok, py_gateway_service:service()} | error.
service(Server) -> ask(Server, service).

-spec info(pid()) -> {ok, py_service:info()} | error.
info(Server) -> ask(Server, info).

ask(Server, What) ->
    try
        gen_server:call(Server, What, ?INFO_MS)
    catch
        exit:_ -> error
    end.

%% @doc No new requests; returns when none is open any more, or after that time.
-spec drain(pid(), timeout() | default) -> ok.
drain(Server, Drain) ->
    try
        gen_server:call(Server, {drain, Drain}, infinity)
    catch
        exit:_ -> ok
    end.

-spec init({map(), py_config:pool()}) -> {ok, #state{}} | {stop, {shutdown, string() | {py, term()}}}.
init({#{name := Name, ip := Ip, port := Port} = Service, Config}) ->
    process_flag(trap_exit, true),
    case {py_service_port:hold(Ip, Port), py_service_token:read(maps:get(token_file, Service))} of
        {{ok, Socket}, {ok, Token}} ->
            Pool = pool_name(1),
            Path = py_directory:path("front-" ++ integer_to_list(erlang:unique_integer([positive])) ++ ".sock"),
            case start_gateway(Path, Pool, Service) of
                {ok, _} ->
                    Fronts = lists:seq(1, maps:get(fronts, Service)),
                    State = #state{
                        name = Name, service = Service, config = Config, pool = Pool, socket = Socket, token = Token, path = Path,
                        replicas = start_replicas(Pool, Config), budget = py_restart:new(?FRONT_RESTART),
                        %% The atoms that fronts say are those of that module: it is loaded before they say any.
                        retired = py_service_figures:sum([])
                    },
                    {ok, lists:foldl(fun(_, Acc) -> start_front(Acc) end, State, Fronts)};
                {error, Reason} ->
                    {stop, {shutdown, Reason}}
            end;
        {{error, Text}, _} -> {stop, {shutdown, Text}};
        {_, {error, Text}} -> {stop, {shutdown, Text}}
    end.

%% Names are used again: atoms stay.
pool_name(Number) when Number =< ?MOST_SERVICES ->
    Taken = case ets:lookup(?POOLS, Number) of
        [{_, Pid}] -> is_process_alive(Pid);
        [] -> false
    end,
    case Taken of
        true -> pool_name(Number + 1);
        false ->
            ets:insert(?POOLS, {Number, self()}),
            list_to_atom("py_service_" ++ integer_to_list(Number))
    end.

start_gateway(Path, Pool, #{fronts := Fronts} = Service) ->
    {ok, Checked} = py_gateway:check(#{path => Path, role => front, max_connections => Fronts + ?SPARE_CONNECTIONS}),
    py_gateway_sup:start_gateway(Checked#{service := target(Pool, Service)}).

target(Pool, #{name := Name, timeout := Timeout, replicas := Replicas, threads := Threads, max_queue := Queue}) ->
    #{name => Name, pool => Pool, timeout => Timeout, most_open => Replicas * Threads + Queue}.

%% A pool's owner ends with the process that has started it; that one waits for the start, and this one does not.
start_replicas(Pool, Config) ->
    Server = self(),
    spawn_link(fun() ->
        process_flag(trap_exit, true),
        case py_pool_owner:start_link(Pool, Config) of
            {ok, Owner} ->
                Server ! {replicas, self(), ok},
                owned(Owner, Server);
            {error, Reason} ->
                Server ! {replicas, self(), {error, Reason}}
        end
    end).

owned(Owner, Server) ->
    receive
        {'EXIT', Owner, Reason} -> exit(Reason);
        {'EXIT', Server, _} -> ended(Owner);
        stop -> ended(Owner)
    end.

ended(Owner) ->
    exit(Owner, shutdown),
    receive {'EXIT', Owner, _} -> ok end.

start_front(#state{config = Config, service = Service, fronts = Fronts} = State) ->
    case py_front:start_link(self(), settings(State), maps:merge(Config, maps:get(front, Service, #{}))) of
        {ok, Front} -> State#state{fronts = Fronts#{Front => #front{}}};
        {error, {shutdown, {failed, Text}}} -> failed(text(Text), State);
        {error, Reason} -> failed(lists:flatten(io_lib:format("~tP", [Reason, 20])), State)
    end.

settings(#state{service = #{ip := Ip, port := Port, timeout := Timeout, max_body := Body, tls := Tls} = Service, phase = Phase} = State) ->
    Settings = #{
        ip => list_to_binary(inet:ntoa(Ip)),
        port => Port,
        path => unicode:characters_to_binary(State#state.path),
        hosts => py_service_hosts:names(Ip, maps:get(hosts, Service)),
        timeout => Timeout,
        max_body => Body,
        state => Phase
    },
    Token = case State#state.token of undefined -> #{}; Secret -> #{token => Secret} end,
    maps:merge(maps:merge(Settings, Token), if Tls =:= undefined -> #{}; true -> #{tls => Tls} end).

text(Text) -> unicode:characters_to_list(Text).

-spec handle_call(term(), gen_server:from(), #state{}) -> {reply, term(), #state{}} | {noreply, #state{}}.
handle_call(await, _From, #state{phase = ready, waiting = []} = State) ->
    {reply, ok, State};
handle_call(await, _From, #state{failure = {py, _} = Reason} = State) ->
    {reply, {error, Reason}, State};
handle_call(await, From, #state{waiting = Waiting} = State) ->
    {noreply, State#state{waiting = [From | Waiting]}};
handle_call(url, _From, State) ->
    {reply, {ok, url_of(State)}, State};
handle_call(service, _From, #state{pool = Pool, service = Service} = State) ->
    {reply, {ok, target(Pool, Service)}, State};
handle_call(info, _From, State) ->
    {reply, {ok, info_of(State)}, State};
handle_call({drain, default}, From, #state{config = #{drain_timeout := Timeout}} = State) ->
    handle_call({drain, Timeout}, From, State);
handle_call({drain, _}, _From, #state{drain = {_, _}} = State) ->
    {reply, ok, State};
handle_call({drain, Timeout}, From, #state{fronts = Fronts} = State) ->
    tell({state, draining}, State),
    Timer = erlang:start_timer(if Timeout =:= infinity -> 16#ffffffff; true -> Timeout end, self(), drain),
    %% One that does not listen has no request.
    Known = maps:map(fun(_, #front{os_pid = OsPid} = Front) -> Front#front{is_drained = OsPid =:= none} end, Fronts),
    {noreply, drained(State#state{phase = draining, fronts = Known, drain = {From, Timer}})};
handle_call(_Request, _From, State) ->
    {reply, {error, unknown_request}, State}.

url_of(#state{service = #{ip := Ip, port := Port, tls := Tls}}) ->
    Scheme = if Tls =:= undefined -> "http"; true -> "https" end,
    iolist_to_binary(io_lib:format("~ts://~ts:~w", [Scheme, py_service_hosts:reached(Ip), Port])).

info_of(#state{service = Service, fronts = Fronts, phase = Phase, pool = Pool, retired = Retired, serves = Serves} = State) ->
    Own = maps:with([name, handler, replicas, threads, max_queue], Service),
    Figures = [Figures || #front{figures = Figures} <- maps:values(Fronts)],
    maps:merge(
        maps:merge(Own, py_service_figures:told([Retired | Figures])),
        #{
            url => url_of(State),
            state => Phase,
            pool => if Serves -> Pool; true -> undefined end,
            fronts => lists:sort([OsPid || #front{os_pid = OsPid} <- maps:values(Fronts), is_integer(OsPid)])
        }
    ).

tell(Message, #state{fronts = Fronts}) -> lists:foreach(fun(Front) -> py_front:tell(Front, Message) end, maps:keys(Fronts)).

drained(#state{drain = {From, Timer}, fronts = Fronts} = State) ->
    case lists:all(fun(#front{is_drained = Is}) -> Is end, maps:values(Fronts)) of
        true ->
            _ = erlang:cancel_timer(Timer),
            gen_server:reply(From, ok),
            State#state{drain = none};
        false ->
            State
    end;
drained(State) ->
    State.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(_Message, State) -> {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}} | {stop, term(), #state{}}.
handle_info({replicas, Replicas, ok}, #state{replicas = Replicas} = State) ->
    {noreply, looked_at(State#state{serves = true})};
handle_info({replicas, Replicas, {error, Reason}}, #state{replicas = Replicas} = State) ->
    given_up(Reason, State);
handle_info({py_front, Front, What}, #state{fronts = Fronts} = State) when is_map_key(Front, Fronts) ->
    of_front(What, Front, map_get(Front, Fronts), State);
handle_info({'EXIT', Front, Reason}, #state{fronts = Fronts} = State) when is_map_key(Front, Fronts) ->
    front_ended(Front, Reason, State);
handle_info({'EXIT', Replicas, Reason}, #state{replicas = Replicas, failure = none} = State) ->
    {stop, Reason, State};
handle_info({timeout, _, front}, #state{phase = draining} = State) ->
    {noreply, State};
handle_info({timeout, _, front}, State) ->
    {noreply, start_front(State)};
handle_info({timeout, Timer, drain}, #state{drain = {From, Timer}} = State) ->
    gen_server:reply(From, ok),
    {noreply, State#state{drain = none}};
handle_info(_Message, State) ->
    {noreply, State}.

of_front({listening, OsPid}, Pid, Front, #state{fronts = Fronts, phase = Phase} = State) ->
    %% It may have been started before that was so.
    py_front:tell(Pid, {state, Phase}),
    {noreply, looked_at(State#state{fronts = Fronts#{Pid := Front#front{os_pid = OsPid}}})};
of_front({failed, Text}, _Pid, _Front, #state{phase = starting} = State) ->
    {noreply, failed(text(Text), State)};
of_front({failed, Text}, _Pid, _Front, #state{name = Name} = State) ->
    logger:error("service ~ts: a front does not start: ~ts", [Name, Text], #{domain => [py]}),
    {noreply, State};
of_front({figures, Figures}, Pid, Front, #state{fronts = Fronts} = State) ->
    {noreply, State#state{fronts = Fronts#{Pid := Front#front{figures = py_service_figures:read(Figures)}}}};
of_front({metrics, Id}, Pid, _Front, #state{service = #{metrics := Metrics}} = State) ->
    %% All services are asked, this one too.
    _ = spawn(fun() -> py_front:tell(Pid, {metrics, Id, Metrics()}) end),
    {noreply, State};
of_front(ready, Pid, Front, #state{fronts = Fronts} = State) ->
    {noreply, all_ready(State#state{fronts = Fronts#{Pid := Front#front{is_ready = true}}})};
of_front(drained, Pid, Front, #state{fronts = Fronts} = State) ->
    {noreply, drained(State#state{fronts = Fronts#{Pid := Front#front{is_drained = true}}})}.

front_ended(Front, Reason, #state{fronts = Fronts, retired = Retired, name = Name, budget = Budget, failure = Failure} = State) ->
    {#front{figures = Figures, os_pid = OsPid}, Left} = maps:take(Front, Fronts),
    Next = drained(State#state{fronts = Left, retired = py_service_figures:sum([Retired, Figures#{open => 0}])}),
    case {Reason, Failure} of
        {_, {py, _}} -> {noreply, Next};
        {{shutdown, {failed, Text}}, none} when State#state.phase =:= starting -> {noreply, failed(text(Text), Next)};
        {_, none} when State#state.phase =:= starting, OsPid =:= none ->
            {noreply, failed(lists:flatten(io_lib:format("a front ended before it listened: ~tP", [Reason, 12])), Next)};
        {_, none} ->
            logger:warning("service ~ts: a front ended: ~tP", [Name, Reason, 12], #{domain => [py]}),
            {_, Delay, Spent} = py_restart:died(erlang:monotonic_time(millisecond), Budget),
            _ = erlang:start_timer(Delay, self(), front),
            {noreply, all_ready(Next#state{budget = Spent})}
    end.

%% It serves as soon as the replicas do and each front listens.
looked_at(#state{phase = starting, serves = true, fronts = Fronts, service = #{fronts := Count}} = State) ->
    case [Front || #front{os_pid = OsPid} = Front <- maps:values(Fronts), is_integer(OsPid)] of
        Listening when length(Listening) =:= Count ->
            tell({state, ready}, State),
            State#state{phase = ready};
        _ ->
            State
    end;
looked_at(State) ->
    State.

%% Who waits for the start may ask each front that there is.
all_ready(#state{phase = starting} = State) ->
    State;
all_ready(#state{fronts = Fronts, waiting = Waiting} = State) ->
    case lists:all(fun(#front{is_ready = IsReady}) -> IsReady end, maps:values(Fronts)) of
        true ->
            _ = [gen_server:reply(From, ok) || From <- Waiting],
            State#state{waiting = []};
        false ->
            State
    end.

failed(Text, #state{name = Name} = State) -> told_failure({py, {service, Name, Text}}, State).

%% Who has started it is told, and ends it.
told_failure(Reason, #state{waiting = Waiting, failure = none} = State) ->
    _ = [gen_server:reply(From, {error, Reason}) || From <- Waiting],
    State#state{failure = Reason, waiting = []};
told_failure(_Reason, State) ->
    State.

given_up({py, _} = Reason, State) -> {noreply, told_failure(Reason, State)};
given_up(Reason, State) -> {noreply, failed(lists:flatten(io_lib:format("~tP", [Reason, 20])), State)}.

%% Fronts first, so that nobody asks for what is about to go.
-spec terminate(term(), #state{}) -> ok.
terminate(_Reason, #state{fronts = Fronts, replicas = Replicas, path = Path, socket = Socket}) ->
    Monitors = [{monitor(process, Front), exit(Front, shutdown)} || Front <- maps:keys(Fronts)],
    lists:foreach(fun({Monitor, _}) -> receive {'DOWN', Monitor, process, _, _} -> ok end end, Monitors),
    _ = py_gateway_sup:stop_gateway(Path),
    Monitor = monitor(process, Replicas),
    Replicas ! stop,
    receive {'DOWN', Monitor, process, _, _} -> ok end,
    py_service_port:release(Socket).

%% It has a token, and parameters that may be secret.
-spec format_status(gen_server:format_status()) -> gen_server:format_status().
format_status(Status) ->
    maps:map(fun(state, #state{name = Name}) -> Name; (_, Value) -> Value end, Status).
