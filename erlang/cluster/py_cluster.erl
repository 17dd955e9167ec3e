%%% @doc Python servers on other nodes: start and find them, and give them modules. The engine is Erlang distribution: a
%%% node that is connected and runs this application takes part.
%%%
%%% Calls are made with {@link py}'s functions. Their option `node' names a node; `scope => cluster' leaves the choice among
%%% all nodes that have the pool to {@link py_nodes}.
-module(py_cluster).

-export([connect/1, connect/2, start/1, start/2, stop/1, nodes/0, nodes/1, workers/0, status/0, push/1, push/2, unpush/1]).
-compile({no_auto_import, [nodes/0, nodes/1]}).
%% For other nodes.
-export([start_for/1]).
-export([wished/1]).
-export_type([start_options/0, connect_options/0, push_options/0]).

-type connect_options() :: #{reconnect => boolean(), timeout => timeout()}.
%% `timeout': how long all of it may take, in milliseconds (default `infinity').
-type start_options() :: #{pools => [{py_config:pool_name(), py_pool_options:options()}], timeout => timeout(), upgrade => boolean()}.
%% `pools': those to start there, as in `sys.config' (default: what that node is configured with; where its code is sent from
%% here, what this node is configured with). `timeout' in milliseconds (default 60000). `upgrade': where that node was given another version of this
%% application's code, stop it there and give it this one.
-type push_options() :: #{replace => boolean()}.
%% `replace': also a module that has the name of one of Python's own, which workers of other nodes then have in its place (default `false').
-type failure() :: {py, py_error:reason()}.

%% How long the groups of a node that was just connected may take to arrive.
-define(JOINED_MS, 5_000).
-define(PAUSE_MS, 10).
-define(PUSH_MS, 30_000).
%% A node that has stopped answering must not keep those that do.
-define(ANSWER_MS, 5_000).

%% @doc `connect(Node, #{})'.
-spec connect(node() | [node()]) -> ok | {error, failure()}.
connect(Node) -> connect(Node, #{}).

%% @doc Connect to a node, or to each of a list. Returns when its pools can be called with `scope => cluster', if it has any,
%% or at once where it is a hidden node, which can be called with the option `node' only.
%%
%% `reconnect => true': whenever the connection is lost, another is tried, a second later, then less often, until there is one; as long as the application
%% runs here, or until `connect' is told `false'. It holds also where there is none now.
%%
%% Errors: `{py, {node_down, Node}}'; `{py, {not_distributed, Node}}' where this node has no name; `{py, not_started}' where
%% the application does not run here; `{py, timeout}' where the node is connected and does not answer, or when `timeout' is over.
-spec connect(node() | [node()], connect_options()) -> ok | {error, failure()}.
connect(Node, Options) when is_atom(Node) -> connect([Node], Options);
connect(Nodes, Options) ->
    Api = {?MODULE, connect, [Nodes, Options]},
    is_list(Nodes) andalso lists:all(fun is_atom/1, Nodes) orelse py_error:badarg(1, "must be a node or a list of nodes", Api),
    case py_config:connection(Options) of
        {ok, #{timeout := Timeout} = Checked} ->
            case kept(Nodes, maps:get(reconnect, Checked, undefined)) of
                ok -> each(Nodes, py_deadline:after_ms(Timeout));
                {error, Reason} -> {error, {py, Reason}}
            end;
        {error, Problem} ->
            py_error:badarg(2, py_options:describe(Problem), Api)
    end.

kept([Node | Rest], Keep) when is_boolean(Keep) ->
    case py_cluster_links:keep(Node, Keep) of
        ok -> kept(Rest, Keep);
        Error -> Error
    end;
kept(_, _) ->
    ok.

each([Node | Rest], Deadline) ->
    case connected(Node, Deadline) of
        ok ->
            case await_groups(Node, py_deadline:after_ms(min(?JOINED_MS, py_deadline:left_ms(Deadline)))) of
                ok -> each(Rest, Deadline);
                Error -> Error
            end;
        Error ->
            Error
    end;
each([], _Deadline) ->
    ok.

%% Whoever connects waits for the other host, however long that takes to answer.
connected(Node, Deadline) ->
    {Pid, Monitor} = spawn_monitor(py_cluster_links, attempt, [Node]),
    receive
        {'DOWN', Monitor, process, Pid, {connected, ok}} -> ok;
        {'DOWN', Monitor, process, Pid, {connected, {error, Reason}}} -> {error, {py, Reason}}
    after py_deadline:left_ms(Deadline) ->
        demonitor(Monitor, [flush]),
        exit(Pid, kill),
        {error, {py, timeout}}
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
%% Errors: those of {@link connect/1} and of {@link py:start/0}, as they are there; `{py, {ship, Why}}', with `{version, Node, There, Here}' where the node has
%% another version of the application; `{py, timeout}'. When the time is over, or the caller ends, what was begun there is stopped when it has started, unless the application
%% ran there before; a connection that was made stays.
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
        fun() -> connected(Node, Deadline) end,
        fun() -> provide(Node, Options, Deadline) end,
        fun() -> start_there(Node, py_deadline:left_ms(Deadline)) end,
        fun() -> visible(Node, Deadline) end
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
            case py_cluster_code:compare(Node, Deadline) of
                same -> configure(Node, maps:get(pools, Options, undefined), py_deadline:left_ms(Deadline));
                {given, _} when map_get(upgrade, Options) -> supplied(fun py_cluster_code:replace/2, Node, Options, Deadline);
                {_, There} -> {error, {py, {ship, {version, Node, There, py_cluster_code:version()}}}};
                {error, _, Why} -> not_given(Why)
            end;
        {ok, {error, _}} ->
            supplied(fun py_cluster_code:to/2, Node, Options, Deadline);
        {error, _} = Error ->
            Error
    end.

supplied(Give, Node, Options, Deadline) ->
    case Give(Node, Deadline) of
        ok -> configure(Node, maps:get(pools, Options, application:get_env(py, pools, undefined)), py_deadline:left_ms(Deadline));
        {error, Why} -> not_given(Why)
    end.

not_given(timeout) -> {error, {py, timeout}};
not_given({node_down, _} = Why) -> {error, {py, Why}};
not_given(Why) -> {error, {py, {ship, Why}}}.

configure(_Node, undefined, _Timeout) ->
    ok;
configure(Node, Pools, Timeout) ->
    case on(Node, application, set_env, [py, pools, Pools], Timeout) of
        {ok, ok} -> ok;
        {error, _} = Error -> Error
    end.

%% The wish ends as `kept' when the caller has its result. If it ends otherwise, nobody wants what has started there.
start_there(Node, Timeout) ->
    Wish = spawn(?MODULE, wished, [self()]),
    Result = on(Node, ?MODULE, start_for, [Wish], Timeout),
    Wish ! {over, case Result of {ok, _} -> kept; {error, _} -> given_up end},
    case Result of
        {ok, {ok, started}} -> ok;
        {ok, {error, _} = Error} -> Error;
        {error, _} = Error -> Error
    end.

%% @doc A process of its own, for as long as a start is wanted.
-spec wished(pid()) -> no_return().
wished(Caller) ->
    Monitor = monitor(process, Caller),
    receive
        {over, How} -> exit(How);
        {'DOWN', Monitor, process, Caller, _} -> exit(given_up)
    end.

%% @doc The other end of `start': start the application, as long as somebody wants that. What ran before goes on.
-spec start_for(pid()) -> {ok, started} | {error, term()}.
start_for(Wish) ->
    Ran = whereis(py_sup) =/= undefined,
    Runner = self(),
    {Starter, Monitor} = spawn_monitor(fun() ->
        Watch = monitor(process, Wish),
        Runner ! {self(), Result = py_pools:start()},
        receive
            {'DOWN', Watch, process, Wish, Why} when Why =:= kept; Why =:= noconnection; Ran; Result =/= {ok, started} -> ok;
            {'DOWN', Watch, process, Wish, _} -> py_pools:stop(0)
        end
    end),
    receive
        {Starter, Result} ->
            demonitor(Monitor, [flush]),
            Result;
        {'DOWN', Monitor, process, Starter, Reason} ->
            {error, Reason}
    end.

%% A node that has servers of its own only for others starts some without running any.
visible(Node, Deadline) ->
    case whereis(py_sup) of
        undefined -> ok;
        _ -> each([Node], Deadline)
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

%% @doc The nodes that have a pool, this one among them, sorted. Where the application does not run here, as on an operator's node, the connected nodes are asked.
-spec nodes() -> [node()].
nodes() ->
    case whereis(py_sup) of
        undefined -> [Node || {Node, {ok, [_ | _]}} <- asked(py_registry, pools)];
        _ -> lists:usort(lists:append([nodes(Pool) || Pool <- py_nodes:pools()]))
    end.

%% Where the application does not run the groups are not known: all connected nodes are asked.
asked(Module, Function) ->
    py_transit:ask_each(plain, lists:sort(erlang:nodes(connected)), {Module, Function, []}, ?ANSWER_MS).

%% @doc The nodes that have a pool of that name, sorted.
-spec nodes(py_config:pool_name()) -> [node()].
nodes(Pool) ->
    case whereis(py_sup) of
        undefined -> [Node || {Node, {ok, Pools}} <- asked(py_registry, pools), lists:member(Pool, Pools)];
        _ -> py_nodes:members(Pool)
    end.

%% @doc What each worker of each node is doing, as {@link py:workers/0}; without those of a node that does not answer.
-spec workers() -> [py_worker:info()].
workers() ->
    Answers = py_remote:multicall(nodes(), {py_pools, workers, []}, ?ANSWER_MS),
    lists:append([Workers || {_Node, {ok, Workers}} <- Answers]).

%% @doc Print the pools of all nodes as a table: workers, those that serve, calls in flight and calls served. Below it stands what is not as it should be: nodes that
%% this one is to stay connected to and is not, nodes that do not answer, nodes with another version of the application; and what modules were pushed.
-spec status() -> ok.
status() ->
    Workers = workers(),
    py_pool_table:cluster(Workers),
    Nodes = nodes(),
    Silent = Nodes -- [node(Worker) || #{worker := Worker} <- Workers],
    Here = py_cluster_code:version(),
    io:put_chars([
        [io_lib:format("~ts is not connected, for ~w s; it is tried again~n", [Node, Ms div 1000]) || {Node, {down, Ms}} <- lists:sort(maps:to_list(py_cluster_links:kept()))],
        [io_lib:format("~ts does not answer~n", [Node]) || Node <- Silent],
        [io_lib:format("~ts has version ~ts of py, this node ~ts~n", [Node, There, Here]) || {Node, There} <- py_cluster_code:others(Nodes -- [node() | Silent], ?ANSWER_MS)],
        py_cluster_modules:summary()
    ]).

%%% Modules

%% @doc `push(Module, #{})'.
-spec push(py_term:name()) -> [{node(), ok | {error, term()}}].
push(Module) -> push(Module, #{}, {?MODULE, push, [Module]}).

%% @doc Give a Python module, or the package that it is in, to all other nodes that have pools: the source files that a
%% worker of the pool `default' here would import. They are on the path of every worker there, before what is installed,
%% also of workers that start later. Where the module is imported already it is loaded again. Nodes that come later are
%% given it by one of those that have it, see {@link py_cluster_modules}.
%%
%% It is kept only if a fresh Python can import it, here and on each node that answers. If one can't, nothing is changed anywhere: that node's result
%% is why, that of others `{error, {py, {ship, {not_everywhere, Nodes}}}}'. Nodes that do not answer have no say: they are told when they are back.
%%
%% Returns what became of it on each node: `{error, {py, timeout}}' where a worker was busy for half a minute, which loads it
%% after that. Fails as a call does: with Python's `ModuleNotFoundError', or with its `ValueError' for a module that has no
%% source file, and for one of Python's own without `replace => true'; with `{py, {ship, sandboxed}}' where the pool `default' is in sandboxes.
-spec push(py_term:name(), push_options()) -> [{node(), ok | {error, term()}}].
push(Module, Options) -> push(Module, Options, {?MODULE, push, [Module, Options]}).

push(Module, Options, Api) ->
    py_term:is_name(Module) orelse py_error:badarg(1, "must be the name of a module: an atom or a binary", Api),
    case py_config:push(Options) of
        {ok, #{replace := Replaces}} -> pushed(Module, Replaces, Api);
        {error, Problem} -> py_error:badarg(2, py_options:describe(Problem), Api)
    end.

pushed(Module, Replaces, Api) ->
    py_cluster_modules:is_sandboxed(default) andalso py_error:raise({py, {ship, sandboxed}}, Api),
    Options = #{strings => binary, binaries => bytes, arrays => opaque},
    Others = nodes() -- [node()],
    {Name, Files} =
        case py_route:perform({wrapper, call}, ['erl.calls.pushed', source, [Module, Others =/= [], Replaces], []], Options, self()) of
            {ok, Source} -> Source;
            {error, Error} -> py_error:raise(Error, Api)
        end,
    Tried = py_remote:multicall(Others, {py_cluster_modules, try_out, [Name, Files]}, ?PUSH_MS),
    case [Node || {Node, {ok, {error, _}}} <- Tried] of
        [] -> given(Name, Files, Others, Api);
        Failed -> [{Node, refused(Answer, Failed)} || {Node, Answer} <- Tried]
    end.

given(Name, Files, Others, Api) ->
    case py_cluster_modules:new(Name, Files) of
        {error, Error} -> py_error:raise(Error, Api);
        New -> py_cluster_modules:give(Others, New, ?PUSH_MS)
    end.

refused({ok, {error, _} = Error}, _Failed) -> Error;
refused(_, Failed) -> {error, {py, {ship, {not_everywhere, Failed}}}}.

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
    lists:sort([{node(), Here} | py_cluster_modules:give(nodes() -- [node()], Gone, ?PUSH_MS)]).
