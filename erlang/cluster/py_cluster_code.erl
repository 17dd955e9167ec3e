%%% @doc The application's code, both halves, for a node that does not have it.
%%%
%%% What is running here is packed: the modules, the application's resource file, the Python package. The other node needs
%%% nothing of ours to unpack it. It stays in the cache directory of that node's user, under a name made from its content,
%%% so that it is sent once.
%%% @private
-module(py_cluster_code).

-export([to/2, replace/2, compare/2, version/0, others/2]).

-type reason() :: timeout | {node_down, node()} | {no_file, file:filename(), term()} | {unpack, term()}.

%% @doc Give the code to a node, and put it on its code path.
-spec to(node(), py_deadline:deadline()) -> ok | {error, reason()}.
to(Node, Deadline) ->
    try
        Files = erlang_files() ++ python_files(),
        Cache = on(Node, filename, basedir, [user_cache, "erl-py"], Deadline),
        Place = filename:join(Cache, digest(Files)),
        Ebin = filename:join([Place, name(), "ebin"]),
        on(Node, filelib, is_dir, [Ebin], Deadline) orelse unpack(Node, Place, Files, Deadline),
        true = on(Node, code, add_pathz, [Ebin], Deadline),
        case on(Node, application, load, [py], Deadline) of
            ok -> ok;
            {error, {already_loaded, py}} -> ok;
            {error, Reason} -> {error, {unpack, Reason}}
        end
    catch
        throw:Failure -> {error, Failure}
    end.

%% @doc The same where the node was given another version: the application is stopped there, and its modules are loaded anew.
-spec replace(node(), py_deadline:deadline()) -> ok | {error, reason()}.
replace(Node, Deadline) ->
    try
        _ = on(Node, application, stop, [py], Deadline),
        _ = on(Node, application, unload, [py], Deadline),
        true = on(Node, code, del_path, [filename:dirname(on(Node, where_is_file, ["py.beam"], Deadline))], Deadline),
        case to(Node, Deadline) of
            ok ->
                {ok, Modules} = application:get_key(py, modules),
                Changed = [Module || Module <- on(Node, code, modified_modules, [], Deadline), lists:member(Module, Modules)],
                _ = [on(Node, Function, [Module], Deadline) || Module <- Changed, Function <- [purge, load_file]],
                ok;
            Error ->
                Error
        end
    catch
        throw:Failure -> {error, Failure}
    end.

on(Node, Function, Args, Deadline) -> on(Node, code, Function, Args, Deadline).

%% @doc Whether a node that has the application has this version of it. `given': another one, which it was given by a node; `installed': another one.
-spec compare(node(), py_deadline:deadline()) -> same | {given | installed, string()} | {error, compare, reason()}.
compare(Node, Deadline) ->
    try
        {ok, There} = on(Node, application, get_key, [py, vsn], Deadline),
        case string:split(on(Node, where_is_file, ["py.beam"], Deadline), "/erl-py/") of
            [_, Given] ->
                case There =:= version() andalso hd(string:split(Given, "/")) =:= digest(erlang_files() ++ python_files()) of
                    true -> same;
                    false -> {given, There}
                end;
            _ ->
                case version() of
                    There -> same;
                    _ -> {installed, There}
                end
        end
    catch
        throw:Failure -> {error, compare, Failure}
    end.

%% @doc The version of the application here.
-spec version() -> string().
version() ->
    _ = application:load(py),
    {ok, Version} = application:get_key(py, vsn),
    Version.

%% @doc Those of these nodes that have another one.
-spec others([node()], timeout()) -> [{node(), string()}].
others(Nodes, Timeout) ->
    Here = version(),
    [{Node, There} || {Node, {ok, {ok, There}}} <- py_transit:ask_each(plain, Nodes, {application, get_key, [py, vsn]}, Timeout), There =/= Here].

%% The directory of an application has its version.
name() -> "py-" ++ version().

digest(Files) -> binary_to_list(binary:encode_hex(binary:part(crypto:hash(sha256, term_to_binary(Files)), 0, 8))).

%% Whole or not at all: two may do it at the same time.
unpack(Node, Place, Files, Deadline) ->
    {ok, {_, Archive}} = zip:create("py.zip", Files, [memory]),
    New = lists:concat([Place, ".", binary_to_list(binary:encode_hex(crypto:strong_rand_bytes(6)))]),
    case on(Node, zip, unzip, [Archive, [{cwd, New}]], Deadline) of
        {ok, _} -> ok;
        {error, Reason} ->
            _ = on(Node, file, del_dir_r, [New], Deadline),
            throw({unpack, {New, Reason}})
    end,
    case on(Node, file, rename, [New, Place], Deadline) of
        ok -> ok;
        {error, _} -> on(Node, file, del_dir_r, [New], Deadline)
    end.

erlang_files() ->
    {ok, Modules} = application:get_key(py, modules),
    [
        {filename:join([name(), "ebin", Name]), read(where(Name))}
     || Name <- ["py.app" | [atom_to_list(Module) ++ code:objfile_extension() || Module <- Modules]]
    ].

where(Name) ->
    case code:where_is_file(Name) of
        non_existing -> throw({no_file, Name, enoent});
        Path -> Path
    end.

%% Without what Python has compiled: it does that there, too.
python_files() ->
    Root = filename:join(py_launcher:priv_dir(), "python"),
    Paths = [Path || Path <- filelib:wildcard("erl/**", Root), is_source(Path)],
    [{filename:join([name(), "priv", "python", Path]), read(filename:join(Root, Path))} || Path <- Paths].

is_source(Path) -> lists:member(filename:extension(Path), [".py", ".so", ".pyi", ".typed"]).

read(Path) ->
    case file:read_file(Path) of
        {ok, Bytes} -> Bytes;
        {error, Reason} -> throw({no_file, Path, Reason})
    end.

on(Node, Module, Function, Args, Deadline) ->
    try py_transit:ask(plain, Node, {Module, Function, Args}, py_deadline:left_ms(Deadline)) of
        {ok, Result} -> Result;
        {error, Reason} -> throw(Reason)
    catch
        error:{exception, Reason, _} -> throw({unpack, Reason})
    end.
