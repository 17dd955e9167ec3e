%%% @doc Python modules that nodes give each other: which of them this node has, and their files for its workers.
%%%
%%% Every node keeps what was pushed, with its files, and so can give it to those that come later:
%%%
%%% ```
%%%   pusher   --try_out/2-> each node with pools, where a fresh Python imports it
%%%   pusher   --take/1---> each of them, if that has failed nowhere: it writes the files and has its workers load them
%%%   newcomer --latest/0-> each node, when the application starts there, and when the two are connected
%%%   newcomer --module/1-> one that has the latest
%%% '''
%%%
%%% Of two versions of a module the later one counts, see {@link new/2}. What this node has pushed itself its workers find
%%% where it comes from: it is kept for others, and not written.
%%% @private
-module(py_cluster_modules).
-behaviour(gen_server).

-include_lib("kernel/include/file.hrl").

-export([start_link/0, new/2, gone/1, forgotten/1, give/3, is_sandboxed/1, summary/0]).
%% For other nodes.
-export([try_out/2, take/1, latest/0, module/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).
-export_type([name/0, files/0, module_/0]).

-type name() :: binary().
%% Of a module or package on the top level.
-type files() :: [{Path :: binary(), Content :: binary()}].
%% Paths are relative to a directory of Python's path.
-type version() :: {Microseconds :: integer(), node()}.
%% When it was pushed, and by whom.
-type module_() :: {name(), version(), files()}.

-define(TABLE, ?MODULE).
%% A node that has stopped answering must not keep this one from starting.
-define(ANSWER_MS, 2_000).
-define(FILES_MS, 30_000).
%% Of all modules together. Each node has them twice: in the BEAM, and where its Pythons find them.
-define(MOST_BYTES, 134_217_728).

-spec start_link() -> gen_server:start_ret().
start_link() ->
    py_predecessor:await_end(?MODULE),
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

%% @doc A module that this node pushes: later than any version of it that this node knows, whatever the clocks say.
-spec new(name(), files()) -> module_() | {error, term()}.
new(Name, Files) -> gen_server:call(?MODULE, {new, Name, Files}, infinity).

%% @doc The version of a module that is none: later than any that this node knows, and kept, so that nobody brings it back.
-spec gone(name()) -> module_().
gone(Name) -> gen_server:call(?MODULE, {gone, Name}, infinity).

%% @doc The workers here have it no more.
-spec forgotten(name()) -> ok | {error, term()}.
forgotten(Name) -> loaded(Name).

%% @doc Whether a fresh Python of this node can import the module. Nothing of it is kept.
-spec try_out(name(), files()) -> ok | {error, term()}.
try_out(Name, Files) ->
    Staging = unicode:characters_to_binary(py_directory:path(lists:concat(["try-", erlang:unique_integer([positive])]))),
    case [Pool || Pool <- py_registry:pools(), not is_sandboxed(Pool)] of
        [] ->
            ok;
        [Pool | _] ->
            try write(Staging, Files) of
                ok -> imported(Pool, Staging, Name);
                {error, Reason} -> {error, {py, {ship, Reason}}}
            after
                file:del_dir_r(Staging)
            end
    end.

imported(Pool, Staging, Name) ->
    Args = ['erl.calls.pushed', tried, [Staging, Name], []],
    case py_route:perform({wrapper, call}, Args, #{pool => Pool, timeout => ?FILES_MS}, self()) of
        {ok, _} -> ok;
        %% Its time is the push's, too.
        {error, {py, timeout}} -> ok;
        {error, _} = Error -> Error
    end.

%% @doc Have a module, unless a later version is there. Returns when the workers that had imported it have loaded it again,
%% which those that are busy do after their calls.
-spec take(module_()) -> ok | {error, term()}.
take({Name, _, _} = Module) ->
    try gen_server:call(?MODULE, {keep, Module}, infinity) of
        kept -> loaded(Name);
        known -> ok;
        {error, _} = Error -> Error
    catch
        exit:_ -> {error, {py, not_started}}
    end.

%% @doc Have other nodes {@link take/1} a module, and wait so long. One that stands still is told as soon as it goes on; if the connection to it is lost it asks
%% by itself.
-spec give([node()], module_(), timeout()) -> [{node(), ok | {error, term()}}].
give(Nodes, Module, Timeout) ->
    Take = {?MODULE, take, [Module]},
    [
        begin
            _ = Answer =:= {error, timeout} andalso spawn(fun() -> py_remote:multicall([Node], Take, infinity) end),
            {Node, result(Answer)}
        end
     || {Node, Answer} <- py_remote:multicall(Nodes, Take, Timeout)
    ].

result({ok, Result}) -> Result;
result({error, Reason}) -> {error, {py, Reason}}.

%% @doc The modules that this node has, each with its version.
-spec latest() -> [{name(), version()}].
latest() -> ets:select(?TABLE, [{{'$1', '$2', '_'}, [], [{{'$1', '$2'}}]}]).

%% @doc One of them.
-spec module(name()) -> {ok, module_()} | error.
module(Name) ->
    case ets:lookup(?TABLE, Name) of
        [Module] -> {ok, Module};
        [] -> error
    end.

%% @doc How many there are, and their size, as a line for people; nothing where there are none.
-spec summary() -> iodata().
summary() ->
    case ets:whereis(?TABLE) =/= undefined andalso [Files || {_, _, [_ | _] = Files} <- ets:tab2list(?TABLE)] of
        [_ | _] = All -> io_lib:format("pushed modules: ~w, ~w bytes~n", [length(All), lists:sum([size_of(Files) || Files <- All])]);
        _ -> []
    end.

size_of(Files) -> lists:sum([byte_size(Content) || {_, Content} <- Files]).

%% @doc Whether the Pythons of a pool are in sandboxes: what one of them says a module is would run everywhere, and it does not
%% see what others send.
-spec is_sandboxed(py_config:pool_name()) -> boolean().
is_sandboxed(Pool) ->
    case lists:keyfind(Pool, 1, py_registry:configs()) of
        {_, #{sandbox := Kind}} -> Kind =/= none;
        false -> false
    end.

%%% The process: one version after the other

%% The pools start after this, so their workers have from the beginning what the other nodes have.
-spec init([]) -> {ok, none}.
init([]) ->
    %% Read without asking this process: two nodes that start together must not wait for each other.
    ?TABLE = ets:new(?TABLE, [named_table, protected, set, {read_concurrency, true}]),
    ok = net_kernel:monitor_nodes(true),
    Nodes = nodes(),
    lists:foreach(fun(Module) -> noted(keep(Module)) end, missing(Nodes)),
    _ = spawn(fun() -> greeted(Nodes) end),
    {ok, none}.

-spec handle_call({new, name(), files()} | {gone, name()} | {keep, module_()}, gen_server:from(), none) -> {reply, term(), none}.
handle_call({new, Name, Files}, _From, State) ->
    case has_room(Name, Files) of
        ok ->
            Module = {Name, following(version(Name)), Files},
            true = ets:insert(?TABLE, Module),
            {reply, Module, State};
        Error ->
            {reply, Error, State}
    end;
handle_call({gone, Name}, _From, State) ->
    Module = {Name, following(version(Name)), []},
    deleted(Name),
    true = ets:insert(?TABLE, Module),
    {reply, Module, State};
handle_call({keep, Module}, _From, State) ->
    {reply, keep(Module), State}.

-spec handle_cast(term(), none) -> {noreply, none}.
handle_cast(_Message, State) -> {noreply, State}.

-spec handle_info(term(), none) -> {noreply, none}.
handle_info({nodeup, Node}, State) ->
    _ = spawn(fun() ->
        greeted([Node]),
        lists:foreach(fun(Module) -> noted(take(Module)) end, missing([Node]))
    end),
    {noreply, State};
handle_info(_Message, State) ->
    {noreply, State}.

%% What another version understands is not known. Without a domain, of which OTP's own handler would show nothing.
greeted(Nodes) ->
    _ = [
        logger:warning(
            "~ts has version ~ts of py, this node ~ts: calls between them may fail; all nodes of a cluster should have the same",
            [Node, There, py_cluster_code:version()]
        )
     || {Node, There} <- py_cluster_code:others(Nodes, ?ANSWER_MS)
    ],
    ok.

noted({error, {py, not_started}}) -> ok;
noted({error, Error}) -> logger:warning("a module of another node: ~ts", [py_error:text(Error)], #{domain => [py]});
noted(_) -> ok.

version(Name) ->
    case module(Name) of
        {ok, {_, Version, _}} -> Version;
        error -> {0, node()}
    end.

following({Before, _}) -> {max(erlang:system_time(microsecond), Before + 1), node()}.

keep({Name, {_, Origin} = Version, Files} = Module) ->
    case version(Name) < Version of
        true when Origin =:= node() ->
            true = ets:insert(?TABLE, Module),
            known;
        true when Files =:= [] ->
            deleted(Name),
            true = ets:insert(?TABLE, Module),
            kept;
        true ->
            case kept(Name, Files) of
                ok ->
                    delete(directory(), paths(Name) -- [Path || {Path, _} <- Files]),
                    true = ets:insert(?TABLE, Module),
                    kept;
                {error, _} = Error ->
                    Error
            end;
        false ->
            known
    end.

kept(Name, Files) ->
    case has_room(Name, Files) of
        ok ->
            case write(directory(), Files) of
                ok -> ok;
                {error, Reason} -> {error, {py, {ship, Reason}}}
            end;
        Error ->
            Error
    end.

has_room(Name, Files) ->
    Others = lists:sum([size_of(Of) || {Other, _, Of} <- ets:tab2list(?TABLE), Other =/= Name]),
    case Others + size_of(Files) of
        Bytes when Bytes > ?MOST_BYTES -> {error, {py, {ship, {modules, Bytes, ?MOST_BYTES}}}};
        _ -> ok
    end.

paths(Name) ->
    case module(Name) of
        {ok, {_, _, Files}} -> [Path || {Path, _} <- Files];
        error -> []
    end.

%%% What other nodes have

%% The modules of these nodes of which this one has no version, or an earlier one.
missing(Nodes) ->
    Answers = py_remote:multicall(Nodes, {?MODULE, latest, []}, ?ANSWER_MS),
    Found = [{Name, Version, Node} || {Node, {ok, Latest}} <- Answers, {Name, Version} <- Latest, version(Name) < Version],
    %% The last one of a name is the latest.
    Latest = maps:from_list([{Name, Node} || {Name, _, Node} <- lists:sort(Found)]),
    [
        Module
     || {Name, Node} <- maps:to_list(Latest),
        {_, {ok, {ok, Module}}} <- py_remote:multicall([Node], {?MODULE, module, [Name]}, ?FILES_MS)
    ].

%%% Files and workers

directory() -> unicode:characters_to_binary(py_directory:path(py_directory:modules())).

%% All files are there before the first of them has its name: where there is no room for one, none has changed. Each is there as a whole or not at
%% all: somebody may be importing it.
write(Directory, Files) ->
    Named = [{filename:join(Directory, Path), Content} || {Path, Content} <- Files],
    Result =
        case each(fun written/1, Named) of
            ok -> each(fun({File, _}) -> file:rename(new(File), File) end, Named);
            Error -> Error
        end,
    undone(Result, Directory, Named).

%% A directory without files would be a package without a word in it.
undone(ok, _Directory, _Named) ->
    ok;
undone(Error, Directory, Named) ->
    lists:foreach(fun({File, _}) -> file:delete(new(File)) end, Named),
    Parents = lists:usort(lists:append([parents(filename:dirname(File), Directory) || {File, _} <- Named])),
    lists:foreach(fun file:del_dir/1, lists:reverse(Parents)),
    Error.

parents(Directory, Directory) -> [];
parents(Path, Directory) -> [Path | parents(filename:dirname(Path), Directory)].

new(File) -> <<File/binary, ".new">>.

written({File, Content}) ->
    Later = later(File),
    Steps = [
        fun() -> filelib:ensure_dir(File) end,
        fun() -> file:write_file(new(File), Content) end,
        fun() -> file:write_file_info(new(File), #file_info{mtime = Later}, [{time, posix}]) end
    ],
    lists:foldl(fun(Step, ok) -> Step(); (_, Error) -> Error end, ok, Steps).

each(Fun, [{File, _} = Named | Rest]) ->
    case Fun(Named) of
        ok -> each(Fun, Rest);
        {error, Reason} -> {error, {File, Reason}}
    end;
each(_Fun, []) ->
    ok.

%% Python takes what it has compiled for that of any file of the same size whose time, in seconds, is the same.
later(File) ->
    Now = erlang:system_time(second),
    case file:read_file_info(File, [{time, posix}]) of
        {ok, #file_info{mtime = Before}} -> max(Now, Before + 1);
        {error, _} -> Now
    end.

%% A directory that stays would be a package without a word in it.
deleted(Name) ->
    delete(directory(), paths(Name)),
    _ = file:del_dir_r(filename:join(directory(), Name)),
    ok.

delete(Directory, Paths) -> lists:foreach(fun(Path) -> file:delete(filename:join(Directory, Path)) end, Paths).

loaded(Name) ->
    Args = ['erl.calls.pushed', take, [directory(), Name], []],
    Calls = [
        {Args, #{worker => Worker, timeout => infinity}}
     || Pool <- py_registry:pools(), {_Slot, Worker} <- py_registry:workers(Pool), is_free(Worker)
    ],
    {ok, Results} = py_async:take(py_async:start(Calls, infinity), infinity, all),
    lists:foldl(fun first_error/2, ok, Results).

%% Workers of sessions have options of their own.
is_free(Worker) ->
    case py_worker:info(Worker) of
        {ok, #{sandbox := Kind}} -> Kind =:= none;
        {error, _} -> false
    end.

%% A worker that is gone has a successor, which finds the files.
first_error({error, {py, {worker_down, _}}}, Result) -> Result;
first_error({error, {py, {unknown_worker, _}}}, Result) -> Result;
first_error({error, _} = Error, ok) -> Error;
first_error(_, Result) -> Result.
