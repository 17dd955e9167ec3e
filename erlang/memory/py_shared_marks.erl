%%% @doc What Pythons map after it was released: the marks that they make for their maps, read and cleared up.
%%%
%%% A mark is an empty link `FILE.MAKER-N' in a directory beside that of the files, which the interpreter of that maker makes before
%%% it maps the file, and deletes with the map. One with more behind it, `FILE.MAKER-N-PID', is of what several processes may map.
%%% Such ones, and those of makers that have ended, are <em>left</em>: a look deletes those whose file no process of this user maps, which
%%% the kernel says in `/proc/PID/maps', of deleted files, too.
%%%
%%% Functions of the directory and of `/proc'. When there is a look, `py_shared_owner' decides.
%%% @private
-module(py_shared_marks).

-export([make_directory/0, directory/0, files/0, left/1, look/1]).
-export_type([mark/0]).

-type mark() :: {Path :: file:filename_all(), File :: binary()}.

-define(DIRECTORY, "maps").

%% @doc A new, empty directory; what one before had is gone.
-spec make_directory() -> ok.
make_directory() ->
    Directory = directory(),
    ok = py_directory:delete(Directory),
    ok = file:make_dir(Directory),
    _ = file:change_mode(Directory, 8#700),
    ok.

-spec directory() -> file:filename().
directory() -> py_directory:path(?DIRECTORY).

%% @doc The names of the files that something maps, or has left a mark for; each once, whether it is there or not.
-spec files() -> [binary()].
files() -> lists:usort([File || {_, File, _} <- marks()]).

%% @doc The marks that nobody deletes by himself: all but those of what only interpreters of these makers map.
-spec left(Living :: [binary()]) -> [mark()].
left(Living) ->
    [
        {filename:join(directory(), Name), File}
     || {Name, File, Rest} <- marks(), not lists:member(maker(Rest), Living)
    ].

marks() ->
    case file:list_dir_all(directory()) of
        {ok, Names} -> [Mark || Name <- Names, Mark <- mark(unicode:characters_to_binary(Name))];
        {error, _} -> []
    end.

mark(Name) when is_binary(Name) ->
    case binary:split(Name, <<".">>) of
        [File, Rest] -> [{Name, File, Rest}];
        [_] -> []
    end;
mark(_) ->
    [].

%% `several' is nobody's name.
maker(Rest) ->
    case binary:split(Rest, <<"-">>, [global]) of
        [Maker, _] -> Maker;
        _ -> several
    end.

%% @doc Delete those of these marks whose file no process of this user maps.
-spec look([mark()]) -> ok.
look(Marks) ->
    Wanted = maps:from_keys([File || {_, File} <- Marks], true),
    Mapped = lists:foldl(fun(Pid, Found) -> maps:merge(Found, mapped(Pid, Wanted)) end, #{}, process_ids()),
    _ = [file:delete(Path, [raw]) || {Path, File} <- Marks, not is_map_key(File, Mapped)],
    ok.

process_ids() ->
    case file:list_dir("/proc") of
        {ok, Names} -> [Name || [First | _] = Name <- Names, First >= $0, First =< $9];
        {error, _} -> []
    end.

%% Which of the files a process maps; none where that is not told.
mapped(Pid, Wanted) ->
    case file:read_file(filename:join(["/proc", Pid, "maps"])) of
        {ok, Maps} ->
            case binary:match(Maps, <<"/shm/">>) of
                nomatch -> #{};
                _ -> maps:with(named(binary:split(Maps, <<"/shm/">>, [global])), Wanted)
            end;
        {error, _} ->
            #{}
    end.

%% What stands behind the directory in each line, up to its end or to what says that it was deleted.
named([_ | Parts]) -> [hd(binary:split(Part, [<<" ">>, <<"\n">>])) || Part <- Parts].
