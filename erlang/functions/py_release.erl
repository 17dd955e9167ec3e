%%% @doc A release's own Python: an interpreter with the packages that an application needs, in a directory that travels with it.
%%%
%%% `scripts/release-python' runs it for rebar3 and for mix, in a node of its own:
%%%
%%% ```
%%%   python.lock, or what is asked for -> py_env:build -> bundle.py, run by that environment's Python -> DIRECTORY/bin/python
%%% '''
%%%
%%% What is in the directory and how a release finds it stands in `docs/releases.md'.
%%% @private
-module(py_release).

-export([main/1, options/1, pinned/2, lock/2]).
-export_type([options/0]).

-type options() :: #{
    directory := file:filename_all(),
    requirements := [binary()],
    python_version => binary(),
    way := copy | link,
    lock := file:filename_all(),
    offline => true,
    allow_builds => true
}.

-define(BUNDLE_MS, 600_000).
-define(USAGE,
    "usage: release-python DIRECTORY [OPTION...] [REQUIREMENT...]\n"
    "  --requirements=FILE  lines of a requirements.txt: names, versions, markers\n"
    "  --python=3.11        of this version (default: the interpreter that pools use)\n"
    "  --link               the interpreter stays where it is, and the other machine has it there, too\n"
    "  --lock=FILE          what the requirements came to, written and read again (default: python.lock)\n"
    "  --offline            nothing is fetched\n"
    "  --builds             packages without a wheel are built, which runs their code\n"
).

%% @doc What `scripts/release-python' does; ends the node.
-spec main([string()]) -> no_return().
main(Args) ->
    case options(Args) of
        {ok, Options} ->
            case made(Options) of
                {ok, Text} ->
                    io:format("~ts~n", [Text]),
                    halt(0);
                {error, Error} ->
                    io:format(standard_error, "release-python: ~ts~n", [py_error:text(Error)]),
                    halt(1)
            end;
        {error, Text} ->
            io:format(standard_error, "~ts", [Text]),
            halt(2)
    end.

%% @doc The program's arguments. Pure, but for the file of requirements.
-spec options([string()]) -> {ok, options()} | {error, unicode:chardata()}.
options(Args) ->
    try lists:foldl(fun option/2, #{requirements => [], way => copy, lock => "python.lock"}, Args) of
        #{directory := _} = Options -> {ok, Options};
        #{} -> {error, ?USAGE}
    catch
        throw:Text -> {error, Text}
    end.

option("--requirements=" ++ File, #{requirements := Before} = Options) -> Options#{requirements := Before ++ lines(File)};
option("--python=" ++ Version, Options) -> Options#{python_version => unicode:characters_to_binary(Version)};
option("--lock=" ++ File, Options) -> Options#{lock := File};
option("--link", Options) -> Options#{way := link};
option("--offline", Options) -> Options#{offline => true};
option("--builds", Options) -> Options#{allow_builds => true};
option("-" ++ _ = Option, _Options) -> throw(["release-python: unknown option ", Option, $\n, ?USAGE]);
option(Directory, Options) when not is_map_key(directory, Options) -> Options#{directory => filename:absname(Directory)};
option(Requirement, #{requirements := Before} = Options) -> Options#{requirements := Before ++ [unicode:characters_to_binary(Requirement)]}.

%% Without comments and empty lines; what is no requirement is refused by `py_env'.
lines(File) ->
    case file:read_file(File) of
        {ok, Text} ->
            Lines = [re:replace(Line, "(^|\\s)#.*", "", [{return, binary}]) || Line <- binary:split(Text, <<"\n">>, [global])],
            [Line || Each <- Lines, Line <- [string:trim(Each)], Line =/= <<>>];
        {error, Reason} ->
            throw(io_lib:format("release-python: ~ts: ~ts~n", [File, file:format_error(Reason)]))
    end.

made(#{directory := Directory, lock := Lock} = Options) ->
    ok = started(filename:dirname(Directory)),
    Pinned = case file:read_file(Lock) of {ok, Text} -> pinned(Text, Options); {error, _} -> none end,
    case py_env:build(asked(Pinned, Options)) of
        {ok, #{path := Path} = Env} ->
            case bundled(Path, Options) of
                ok ->
                    Pinned =:= none andalso (ok = file:write_file(Lock, lock(Env, Options))),
                    {ok, said(Env, Options)};
                Error ->
                    Error
            end;
        {error, _} = Error ->
            Error
    end.

%% Nothing of the project's own configuration: a node that runs may have its state directory.
started(Beside) ->
    _ = application:load(py),
    ok = application:set_env(py, pools, [{default, none}]),
    ok = application:set_env(py, state_dir, filename:join(Beside, ".release-python")),
    {ok, _} = application:ensure_all_started(py),
    ok.

asked(Pinned, #{requirements := Requirements} = Options) ->
    Given = maps:with([python_version, offline, allow_builds], Options),
    Given#{requirements => case Pinned of none -> Requirements; _ -> Pinned end}.

%% @doc The versions in a lock, `none' where it is one of other requirements. Pure.
-spec pinned(binary(), options()) -> [binary()] | none.
pinned(Text, Options) ->
    Head = head(Options),
    case binary:split(Text, <<"\n">>, [global, trim]) of
        [Head | Lines] -> [Line || <<First, _/binary>> = Line <- Lines, First =/= $#];
        _ -> none
    end.

%% @doc A lock: what was asked for in its first line, then what it has come to. Pure.
-spec lock(#{packages := [binary()], _ => _}, options()) -> iolist().
lock(#{packages := Packages}, Options) ->
    [
        [Line, $\n]
     || Line <- [head(Options), <<"# Written by release-python. Delete it to have newer versions.">> | [Each || Each <- Packages, is_theirs(Each)]]
    ].

head(#{requirements := Requirements} = Options) ->
    Version = maps:get(python_version, Options, <<"any Python">>),
    iolist_to_binary(["# ", lists:join(", ", [Version | lists:sort(Requirements)])]).

%% Not the application's own, which comes with it.
is_theirs(Package) ->
    re:run(Package, "^(erl-bridge|erlang-py|pip|setuptools|wheel)==", [caseless, {capture, none}]) =:= nomatch.

bundled(Path, #{directory := Directory, way := Way}) ->
    Python = filename:join([Path, "bin", "python"]),
    Program = filename:join([py_env_builder:own_package(), "runtime", "bundle.py"]),
    Unset = [{Name, false} || Name <- ["PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH"]],
    case py_program:run(Python, [{args, ["-I", Program, Directory, atom_to_list(Way)]}, {env, Unset}, stderr_to_stdout], ?BUNDLE_MS) of
        {0, _} -> ok;
        {_, Said} -> {error, {py, {env, unicode:characters_to_list(string:trim(iolist_to_binary(Said)))}}}
    end.

said(#{python_version := Version, packages := Packages}, #{directory := Directory, way := Way}) ->
    Words = case Way of copy -> "with its interpreter"; link -> "with a link to its interpreter" end,
    io_lib:format("~ts: Python ~ts ~ts, ~ts", [Directory, Version, Words, lists:join(", ", Packages)]).
