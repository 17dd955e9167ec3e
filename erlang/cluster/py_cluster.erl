%%% @doc Python servers on other nodes: start and find them, and give them modules. The engine is Erlang distribution: a
%%% node that is connected and runs this application takes part.
%%%
%%% Calls are made with {@link py}'s functions. Their option `node' names a node; `scope => cluster' leaves the choice among
%%% all nodes that have the pool to {@link py_nodes}.
-module(py_cluster).

-export([connect/1, start/1, start/2, stop/1, nodes/0, nodes/1, workers/0, status/0, push/1, unpush/1]).
-compile({no_auto_import, [nodes/0, nodes/1]}).
-export_type([start_options/0]).

-type start_options() :: #{pools => [{py_config:pool_name(), py_pool_options:options()}], timeout => timeout()}.
%% `pools': those to start there, as in `sys.config' (default: what that node is configured with; where its code is sent from
%% here, what this node is configured with). `timeout' in milliseconds (default 60000).
-type failure() :: {py, py_error:reason()}.

%% How long the groups of a node that was just connected may take to arrive.
-define(JOINED_MS, 5_000).
-define(PAUSE_MS, 10).
%% How often a connection is tried, and the pause between two attempts.
-define(ATTEMPTS, 3).
-define(ATTEMPT_MS, 100).
-define(PUSH_MS, 30_000).
%% A node that has stopped answering must not keep those that do.
-define(ANSWER_MS, 5_000).

%% @doc Connect to a node, or to each of a list. Returns when its pools can be called with `scope => cluster', if it has any,
%% or at once where it is a hidden node, which can be called with the option `node' only.
%% Errors: `{py, {node_down, Node}}'; `{py, {not_distributed, Node}}' where this node has no name; `{py, not_started}' where
%% the application does not run here; `{py, timeout}' where the node is connected and does not answer.
-spec connect(node() | [node()]) -> ok | {error, failure()}.
connect(Node) when is_atom(Node) -> connect([Node]);
connect([Node | Rest]) when is_atom(Node) ->
    case connected(Node) of
        ok ->
            case await_groups(Node, py_deadline:after_ms(?JOINED_MS)) of
                ok -> connect(Rest);
                Error -> Error
            end;
        Error ->
            Error
    end;
connect([]) -> ok;
connect(Other) -> py_error:badarg(1, "must be a node or a list of nodes", {?MODULE, connect, [Other]}).

connected(Node) -> connected(Node, ?ATTEMPTS).

connected(Node, Attempts) ->
    case net_kernel:connect_node(Node) of
        true -> ok;
        %% One whose connection was lost just now refuses another until it has noticed.
        false when Attempts > 1 -> receive after ?ATTEMPT_MS -> connected(Node, Attempts - 1) end;
        false -> {error, {py, {node_down, Node}}};
        ignored -> {error, {py, {not_distributed, Node}}}
    end.

await_groups(Node, Deadline) ->
    case pools_on(Node) of
        {ok, Pools} -> await_groups(Node, Pools, Deadline);
        {error, _} = Error -> Error
    end.

await_groups(Node, Pools, Deadline) ->
    Here = whereis(py_sup) =/= undefined,
    Late = py_deadline:is_over(Deadline),
    %% The groups know no hidden nodes.
    Hidden = lists:member(Node, erlang:nodes(hidden)),
    case Hidden orelse lists:all(fun(Pool) -> lists:member(Node, py_nodes:members(Pool)) end, Pools) of
        true -> ok;
        false when not Here -> {error, {py, not_started}};
        false when Late -> {error, {py, {node_down, Node}}};
        false ->
            %% The pause between two looks.
            receive after ?PAUSE_MS -> ok end,
            await_groups(Node, Pools, Deadline)
    end.

%% Those that have started there; none where the application does not run.
pools_on(Node) ->
    case on(Node, py_registry, pools, [], ?JOINED_MS) of
        {error, {py, not_started}} -> {ok, []};
        Result -> Result
    end.

%% @doc `start(Node, #{})'.
-spec start(node()) -> {ok, started} | {error, failure() | term()}.
start(Node) -> start(Node, #{}).

%% @doc Connect to a node and start the application there; returns when its pools serve. Where the application's code is
%% missing there, it is sent from here, both halves, and stays in that user's cache directory. The node needs a Python with
%% the packages `erlang-py' and `cloudpickle' all the same.
%%
%% Errors: those of {@link connect/1} and of {@link py:start/0}, as they are there; `{py, {ship, Why}}'; `{py, timeout}'.
-spec start(node(), start_options()) -> {ok, started} | {error, failure() | term()}.
start(Node, Options) ->
    Api = {?MODULE, start, [Node, Options]},
    is_atom(Node) orelse py_error:badarg(1, "must be a node", Api),
    case py_config:cluster(Options) of
        {ok, Checked} -> start_checked(Node, Checked);
        {error, Problem} -> py_error:badarg(2, py_options:describe(Problem), Api)
    end.

start_checked(Node, #{timeout := Timeout} = Options) ->
    %% What is sent from here is read from the application, which need not run here.
    _ = application:load(py),
    Deadline = py_deadline:after_ms(Timeout),
    steps([
        fun() -> connected(Node) end,
        fun() -> provide(Node, Options, Deadline) end,
        fun() -> start_there(Node, py_deadline:left_ms(Deadline)) end,
        fun() -> visible(Node) end
    ]).

steps([Step | Rest]) ->
    case Step() of
        ok -> steps(Rest);
        {error, _} = Error -> Error
    end;
steps([]) ->
    {ok, started}.

provide(Node, Options, Deadline) ->
    case on(Node, application, load, [py], py_deadline:left_ms(Deadline)) of
        {ok, Loaded} when Loaded =:= ok; Loaded =:= {error, {already_loaded, py}} ->
            configure(Node, maps:get(pools, Options, undefined), py_deadline:left_ms(Deadline));
        {ok, {error, _}} ->
            case py_cluster_code:to(Node, Deadline) of
                ok ->
                    Pools = maps:get(pools, Options, application:get_env(py, pools, undefined)),
                    configure(Node, Pools, py_deadline:left_ms(Deadline));
                {error, timeout} -> {error, {py, timeout}};
                {error, Why} -> {error, {py, {ship, Why}}}
            end;
        {error, _} = Error ->
            Error
    end.

configure(_Node, undefined, _Timeout) ->
    ok;
configure(Node, Pools, Timeout) ->
    case on(Node, application, set_env, [py, pools, Pools], Timeout) of
        {ok, ok} -> ok;
        {error, _} = Error -> Error
    end.

start_there(Node, Timeout) ->
    case on(Node, py_pools, start, [], Timeout) of
        {ok, {ok, started}} -> ok;
        {ok, {error, _} = Error} -> Error;
        {error, _} = Error -> Error
    end.

%% A node that has servers of its own only for others starts some without running any.
visible(Node) ->
    case whereis(py_sup) of
        undefined -> ok;
        _ -> connect(Node)
    end.

%% @doc Stop the application on a node, as {@link py:stop/0} does there.
-spec stop(node()) -> {ok, stopped} | {error, failure()}.
stop(Node) ->
    case on(Node, py_pools, stop, [default], infinity) of
        {ok, {ok, stopped}} -> {ok, stopped};
        {error, _} = Error -> Error
    end.

on(Node, Module, Function, Args, Timeout) ->
    case py_transit:ask(plain, Node, {Module, Function, Args}, Timeout) of
        {ok, _} = Result -> Result;
        {error, Reason} -> {error, {py, Reason}}
    end.

%%% What there is

%% @doc The nodes that have a pool, this one among them, sorted.
-spec nodes() -> [node()].
nodes() -> lists:usort(lists:append([nodes(Pool) || Pool <- py_nodes:pools()])).

%% @doc The nodes that have a pool of that name, sorted.
-spec nodes(py_config:pool_name()) -> [node()].
nodes(Pool) -> py_nodes:members(Pool).

%% @doc What each worker of each node is doing, as {@link py:workers/0}; without those of a node that does not answer.
-spec workers() -> [py_worker:info()].
workers() ->
    Answers = py_remote:multicall(nodes(), {py_pools, workers, []}, ?ANSWER_MS),
    lists:append([Workers || {_Node, {ok, Workers}} <- Answers]).

%% @doc Print the pools of all nodes as a table: workers, those that serve, calls in flight and calls served.
-spec status() -> ok.
status() -> py_pool_table:cluster(workers()).

%%% Modules

%% @doc Give a Python module, or the package that it is in, to all other nodes that have pools: the source files that a
%% worker of the pool `default' here would import. They are on the path of every worker there, before what is installed,
%% also of workers that start later. Where the module is imported already it is loaded again. Nodes that come later are
%% given it by one of those that have it, see {@link py_cluster_modules}.
%%
%% Returns what became of it on each node: `{error, {py, timeout}}' where a worker was busy for half a minute, which loads it
%% after that. Fails as a call does: with Python's `ModuleNotFoundError', or with its `ValueError' for a module that has no
%% source file; with `{py, {ship, sandboxed}}' where the pool `default' is in sandboxes.
-spec push(py_term:name()) -> [{node(), ok | {error, term()}}].
push(Module) ->
    py_term:is_name(Module) orelse
        py_error:badarg(1, "must be the name of a module: an atom or a binary", {?MODULE, push, [Module]}),
    py_cluster_modules:is_sandboxed(default) andalso py_error:raise({py, {ship, sandboxed}}, {?MODULE, push, [Module]}),
    Options = #{strings => binary, binaries => bytes, arrays => opaque},
    Others = nodes() -- [node()],
    {Name, Files} =
        case py_route:perform({wrapper, call}, ['erl.calls.pushed', source, [Module, Others =/= []], []], Options, self()) of
            {ok, Source} -> Source;
            {error, Error} -> py_error:raise(Error, {?MODULE, push, [Module]})
        end,
    Answers = py_remote:multicall(Others, {py_cluster_modules, take, [py_cluster_modules:new(Name, Files)]}, ?PUSH_MS),
    [{Node, pushed(Answer)} || {Node, Answer} <- Answers].

%% @doc Take back what was pushed: its files go on all nodes, and workers forget the module, or have again what is installed there. Nodes
%% that were away are told when they come back. The result is that of {@link push/1}, of this node, too; a module that nobody has pushed is
%% no error.
-spec unpush(py_term:name()) -> [{node(), ok | {error, term()}}].
unpush(Module) ->
    py_term:is_name(Module) orelse
        py_error:badarg(1, "must be the name of a module: an atom or a binary", {?MODULE, unpush, [Module]}),
    [Top | _] = binary:split(py_term:module(Module), <<".">>),
    Gone = py_cluster_modules:gone(Top),
    Here = py_cluster_modules:forgotten(Top),
    Answers = py_remote:multicall(nodes() -- [node()], {py_cluster_modules, take, [Gone]}, ?PUSH_MS),
    lists:sort([{node(), Here} | [{Node, pushed(Answer)} || {Node, Answer} <- Answers]]).

pushed({ok, Result}) -> Result;
pushed({error, Reason}) -> {error, {py, Reason}}.
