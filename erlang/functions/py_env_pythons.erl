%%% @doc The interpreters of this machine that environments can be made from, and which of them a version means.
%%%
%%% They are looked for on `PATH', where systems have them, where pyenv and uv keep theirs, and beside what pools use; each is asked once what it
%%% is, and again when its file has changed. Links, shims and virtual environments lead to the one that they stand for.
%%% @private
-module(py_env_pythons).

-include_lib("kernel/include/file.hrl").

-export([all/0, choose/2, identity/1, default/0, version/1, text/1]).
-export_type([python/0, identity/0, version/0]).

-type version() :: {3, Minor :: non_neg_integer(), Patch :: non_neg_integer()}.
-type python() :: #{path := string(), version := version(), platform := binary(), identity := identity()}.
-type identity() :: {Inode :: non_neg_integer(), Size :: non_neg_integer(), Changed :: term()} | none.

-define(ASK_MS, 20_000).
-define(LEAST_MINOR, 10).
-define(MOST_MINOR, 30).
%% Neither `site' nor the user's directories take part.
-define(PROBE,
    "import os, sys, sysconfig\n"
    "base = os.path.realpath(getattr(sys, '_base_executable', None) or sys.executable)\n"
    "v = sys.version_info\n"
    "good = sys.implementation.name == 'cpython' and v.releaselevel == 'final' and not sysconfig.get_config_var('Py_GIL_DISABLED')\n"
    "platform = '%s %s' % (sysconfig.get_platform(), sysconfig.get_config_var('SOABI'))\n"
    "out = '\\n'.join(['py', base, '%d.%d.%d' % tuple(v[:3]), str(good), platform, ''])\n"
    "(sys.stdout.buffer if v[0] > 2 else sys.stdout).write(os.fsencode(out) if v[0] > 2 else out)\n"
).

%% @doc Those that py can use: CPython from 3.10 on; the lowest first, of equal ones that which is found first.
-spec all() -> [python()].
all() -> known(candidates()).

known(Paths) ->
    Asked = asked([{Path, identity(Path)} || Path <- Paths]),
    Found = lists:foldl(fun
        (#{path := Path} = Python, Acc) ->
            case lists:any(fun(#{path := Known}) -> Known =:= Path end, Acc) of
                true -> Acc;
                false -> [Python | Acc]
            end;
        (none, Acc) ->
            Acc
    end, [], Asked),
    lists:sort(fun(#{version := A}, #{version := B}) -> A =< B end, lists:reverse(Found)).

%% All at the same time, as a machine may have dozens.
asked(Candidates) ->
    Asking = self(),
    Asked = [case persistent_term:get({?MODULE, Path}, none) of
        {Identity, Python} -> {known, Python};
        _ -> {asked, Path, Identity, spawn_monitor(fun() -> Asking ! {self(), probe(Path)} end)}
    end || {Path, Identity} <- Candidates],
    lists:map(fun
        ({known, Python}) -> Python;
        ({asked, Path, Identity, {Pid, Monitor}}) ->
            receive
                {Pid, Python} ->
                    demonitor(Monitor, [flush]),
                    persistent_term:put({?MODULE, Path}, {Identity, Python}),
                    Python;
                {'DOWN', Monitor, process, Pid, _} -> none
            end
    end, Asked).

probe(Path) ->
    Unset = [{Name, false} || Name <- ["PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP"]],
    case py_program:run(Path, [{args, ["-S", "-s", "-c", ?PROBE]}, {env, Unset}, {cd, "/"}], ?ASK_MS) of
        {0, Said} ->
            case binary:split(Said, <<"\n">>, [global]) of
                [<<"py">>, Base, Version, <<"True">>, Platform | _] -> python(unicode:characters_to_list(Base), numbers(Version), Platform);
                _ -> none
            end;
        _ ->
            none
    end.

python(Base, {3, Minor, _} = Version, Platform) when is_list(Base), Minor >= ?LEAST_MINOR ->
    #{path => Base, version => Version, platform => Platform, identity => identity(Base)};
python(_Base, _Version, _Platform) ->
    none.

numbers(Version) -> list_to_tuple([binary_to_integer(Part) || Part <- binary:split(Version, <<".">>, [global])]).

%% @doc What changes with an interpreter's file.
-spec identity(file:filename_all()) -> identity().
identity(Path) ->
    case file:read_file_info(Path, [{time, posix}]) of
        {ok, #file_info{inode = Inode, size = Size, mtime = Changed}} -> {Inode, Size, Changed};
        {error, _} -> none
    end.

candidates() ->
    Names = ["python3", "python" | ["python3." ++ integer_to_list(Minor) || Minor <- lists:seq(?LEAST_MINOR, ?MOST_MINOR)]],
    Directories = lists:uniq([Directory || [$/ | _] = Directory <- string:split(variable("PATH"), ":", all)] ++ ["/usr/local/bin", "/usr/bin", "/opt/homebrew/bin"]),
    Own = case default() of {ok, Path} -> [Path]; error -> [] end,
    %% A shim finds out by itself what it stands for, in a second.
    Installed = [filename:join(Directory, Name) || Directory <- Directories, filename:basename(Directory) =/= "shims", Name <- Names],
    Kept = [filename:join([Directory, Name, "bin", "python3"]) || Directory <- kept(), {ok, Known} <- [file:list_dir(Directory)], Name <- lists:sort(Known)],
    lists:uniq([Path || Path <- Own ++ Installed ++ Kept, is_executable(Path)]).

is_executable(Path) ->
    case file:read_file_info(Path) of
        {ok, #file_info{type = regular, mode = Mode}} -> Mode band 8#111 =/= 0;
        _ -> false
    end.

%% Where pyenv and uv have theirs; what is there is installed.
kept() ->
    [filename:join(Root, "versions") || Root <- [variable("PYENV_ROOT"), home(".pyenv")], Root =/= ""] ++
        [Root || Root <- [variable("UV_PYTHON_INSTALL_DIR"), data("uv/python")], Root =/= ""].

data(Name) ->
    case variable("XDG_DATA_HOME") of
        "" -> home(".local/share/" ++ Name);
        Data -> filename:join(Data, Name)
    end.

home(Name) ->
    case variable("HOME") of
        "" -> "";
        Home -> filename:join(Home, Name)
    end.

variable(Name) -> os:getenv(Name, "").

%% @doc The interpreter of a pool that asks for none.
-spec default() -> {ok, file:filename_all()} | error.
default() ->
    {ok, Config} = py_pool_options:check(#{}),
    case py_launcher:find(Config) of
        {ok, _, Path} -> {ok, filename:absname(Path)};
        {error, _} -> error
    end.

%% @doc The version of one.
-spec version(file:filename_all()) -> version() | unknown.
version(Path) ->
    case known([Path]) of
        [#{version := Version}] -> Version;
        [] -> unknown
    end.

%% @doc A version as people write it.
-spec text(version()) -> binary().
text({Major, Minor, Patch}) -> iolist_to_binary(io_lib:format("~w.~w.~w", [Major, Minor, Patch])).

%% @doc The one that a version means: that very one, or the lowest that is not older, with a warning; `any': what pools use, where they
%% can.
-spec choose(py_env_spec:version(), [python()]) -> {ok, python(), Warnings :: [binary()]} | {error, string()}.
choose(_Version, []) ->
    {error, "there is no Python from 3.10 on here"};
choose(any, [Lowest | _] = Pythons) ->
    Own = case default() of {ok, Path} -> known([Path]); error -> [] end,
    {ok, hd([Python || Python <- Own, lists:member(Python, Pythons)] ++ [Lowest]), []};
choose({Minor, Patch}, Pythons) ->
    Same = [Python || #{version := {3, M, P}} = Python <- Pythons, M =:= Minor, Patch =:= any orelse P =:= Patch],
    Later = [Python || #{version := {3, M, P}} = Python <- Pythons, M > Minor orelse M =:= Minor andalso Patch =/= any andalso P > Patch],
    case {Same, Later} of
        {[_ | _], _} ->
            {ok, newest(Same), []};
        {[], [#{version := {3, M, _}} = First | _]} ->
            %% Of that minor version the newest, but of a patch that was asked for the nearest.
            Chosen = if M =:= Minor -> First; true -> newest([Python || #{version := {3, M1, _}} = Python <- Later, M1 =:= M]) end,
            {ok, Chosen, [warning({Minor, Patch}, Chosen)]};
        {[], []} ->
            {error, lists:flatten(["there is no Python ", asked_text({Minor, Patch}), " here, and none that is later; there are ", lists:join(", ", [shown(Python) || Python <- Pythons])])}
    end.

newest(Pythons) ->
    Most = lists:max([Version || #{version := Version} <- Pythons]),
    hd([Python || #{version := Version} = Python <- Pythons, Version =:= Most]).

warning({Minor, _} = Asked, Chosen) ->
    Why = if Minor < ?LEAST_MINOR -> "py needs 3.10 or later"; true -> "it is not installed here" end,
    iolist_to_binary(io_lib:format("Python ~ts was asked for, and ~ts: it is ~ts", [asked_text(Asked), Why, shown(Chosen)])).

asked_text({Minor, any}) -> io_lib:format("3.~w", [Minor]);
asked_text({Minor, Patch}) -> io_lib:format("3.~w.~w", [Minor, Patch]).

shown(#{path := Path, version := Version}) -> io_lib:format("~ts (~ts)", [text(Version), Path]).
