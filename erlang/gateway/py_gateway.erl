%%% @doc A socket at which drivers may connect, and who is connected there.
%%%
%%% A process that accepts is linked to this one, and so are the connections: they end with it. See "The gateway" in
%%% docs/architecture.md.
%%% @private
-module(py_gateway).
-behaviour(gen_server).

-export([start_link/1, token/1, path/0, info/1, check/1, configured/0]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).
-export_type([checked/0]).

-type checked() :: #{
    path := file:filename(), role := py_gateway_wire:role(), max_connections := pos_integer(),
    stop := none | fun(() -> ok), service := none | py_gateway_service:service()
}.
%% `service': whose replicas a front that connects here may have called.

-record(state, {
    socket :: gen_tcp:socket(),
    place :: {file:filename(), py_gateway_socket:identity()},
    options :: checked(),
    acceptor :: pid(),
    connections = #{} :: #{pid() => []}
}).

%% The pause where the system has no descriptor left.
-define(PAUSE_MS, 100).

%% @doc Options, checked and complete.
-spec check(term()) -> {ok, checked()} | {error, py_options:problem()}.
check(Options) ->
    case py_gateway_options:check(Options) of
        {ok, #{path := Path} = Checked} -> {ok, Checked#{path := py_gateway_socket:path(Path), stop => none, service => none}};
        Error -> Error
    end.

%% @doc The gateways of the application's environment.
-spec configured() -> {ok, [checked()]} | {error, {bad_config, gateway, py_options:problem()}}.
configured() ->
    case py_gateway_options:configured() of
        {ok, All} -> {ok, [Checked || Options <- All, {ok, Checked} <- [check(Options)]]};
        Error -> Error
    end.

%% @doc Listen. Errors: `{py, {gateway, Path, Text}}'.
-spec start_link(checked()) -> gen_server:start_ret().
start_link(Options) -> gen_server:start_link(?MODULE, Options, []).

%% @doc A token for one connection of this role, whatever the role of its socket, within a minute.
-spec token(py_gateway_wire:role()) -> binary().
token(Role) -> py_gateway_tokens:make(Role).

%% @doc What there is of it; `error' where it has ended.
-spec info(pid()) -> {ok, #{path := file:filename(), role := py_gateway_options:role(), connections := [pid()]}} | error.
info(Gateway) ->
    try
        {ok, gen_server:call(Gateway, info)}
    catch
        exit:_ -> error
    end.

%% @doc Where a Python of this node's own finds it: the path of a gateway for drivers; `undefined' where there is none.
-spec path() -> binary() | undefined.
path() ->
    Gateways = [Pid || {_, Pid, _, _} <- supervisor:which_children(py_gateway_sup), is_pid(Pid)],
    case lists:sort([Path || Pid <- Gateways, {ok, #{role := driver, path := Path}} <- [info(Pid)]]) of
        [Path | _] -> unicode:characters_to_binary(Path, unicode, file:native_name_encoding());
        [] -> undefined
    end.

connections(Gateway) ->
    case info(Gateway) of
        {ok, #{connections := Connections}} -> length(Connections);
        error -> 0
    end.

-spec init(checked()) -> {ok, #state{}} | {stop, term()}.
init(#{path := Path} = Options) ->
    process_flag(trap_exit, true),
    case py_gateway_socket:listen(Path) of
        {ok, Socket, Identity} ->
            Gateway = self(),
            Acceptor = spawn_link(fun() -> accept(Socket, Identity, Gateway) end),
            {ok, #state{socket = Socket, place = {Path, Identity}, options = Options, acceptor = Acceptor}};
        {error, Text} ->
            {stop, {py, {gateway, Path, unicode:characters_to_list(Text)}}}
    end.

accept(Listening, Identity, Gateway) ->
    case gen_tcp:accept(Listening) of
        {ok, Socket} ->
            case py_gateway_socket:is_own_peer(Socket, Identity) of
                true -> introduced(gen_server:call(Gateway, connected, infinity), Socket);
                false -> gen_tcp:close(Socket)
            end,
            accept(Listening, Identity, Gateway);
        {error, closed} ->
            ok;
        {error, Reason} when Reason =:= emfile; Reason =:= enfile; Reason =:= enobufs; Reason =:= enomem ->
            receive after ?PAUSE_MS -> ok end,
            accept(Listening, Identity, Gateway);
        %% Who wanted to connect has gone.
        {error, _} ->
            accept(Listening, Identity, Gateway)
    end.

introduced({ok, Connection}, Socket) ->
    py_gateway_connection:serve(Connection, Socket);
introduced({error, Most}, Socket) ->
    Text = iolist_to_binary(io_lib:format("~w programs are connected, as many as max_connections allows", [Most])),
    {Frame, _} = py_gateway_wire:encode({refused, too_many_connections, Text}),
    %% There is room for it: nothing was written before.
    _ = gen_tcp:send(Socket, Frame),
    gen_tcp:close(Socket).

-spec handle_call(term(), gen_server:from(), #state{}) -> {reply, term(), #state{}}.
handle_call(connected, _From, #state{options = #{max_connections := Most}, connections = Connections} = State) when
    map_size(Connections) >= Most
->
    {reply, {error, Most}, State};
handle_call(connected, _From, #state{options = #{role := Role, stop := Stop, service := Service}, connections = Connections} = State) ->
    Gateway = self(),
    Settings = #{role => Role, stop => Stop, service => Service, connections => fun() -> connections(Gateway) end},
    Connection = py_gateway_connection:start_link(Gateway, Settings),
    {reply, {ok, Connection}, State#state{connections = Connections#{Connection => []}}};
handle_call(info, _From, #state{options = #{path := Path, role := Role}, connections = Connections} = State) ->
    {reply, #{path => Path, role => Role, connections => maps:keys(Connections)}, State};
handle_call(_Request, _From, State) ->
    {reply, {error, unknown_request}, State}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(_Message, State) -> {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}} | {stop, term(), #state{}}.
handle_info({'EXIT', Acceptor, Reason}, #state{acceptor = Acceptor} = State) ->
    {stop, {acceptor, Reason}, State};
handle_info({'EXIT', Pid, _Reason}, #state{connections = Connections} = State) ->
    {noreply, State#state{connections = maps:remove(Pid, Connections)}};
handle_info(_Message, State) ->
    {noreply, State}.

-spec terminate(term(), #state{}) -> ok.
terminate(_Reason, #state{socket = Socket, place = Place, connections = Connections}) ->
    py_gateway_socket:close(Socket, Place),
    Monitors = [{monitor(process, Pid), exit(Pid, shutdown)} || Pid <- maps:keys(Connections)],
    lists:foreach(fun({Monitor, _}) -> receive {'DOWN', Monitor, process, _, _} -> ok end end, Monitors).
