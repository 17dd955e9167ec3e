%%% @doc What outlives the node: one directory, which belongs to one node at a time.
%%%
%%% ```
%%%   <state_dir>/lock                               whose it is
%%%              /key                                32 bytes, made once: signs what is to be read after restarts
%%%              /journal                            see py_run_journal
%%%              /runs/<id>/{call,result,log}        see py_run_files
%%%              /incoming/<process>/                contents on their way, see py_entity_files
%%%              /<project>/<type>/<name>/<id>/{entity.json,content}
%%% '''
%%%
%%% All is closed to others (0700, 0600). A file appears whole or not at all: it is written under another name, synced, and renamed.
%%%
%%% The lock is a socket's name in the kernel, where there are such (abstract Unix sockets of Linux): it is gone when its process is, however
%%% that ends, and nobody has it twice. The file `lock' says whose it is, to those who are refused; where the kernel has no such names, or
%%% another network namespace, the process that it names decides: by number, start and boot, so that a later one of the same number is none.
%%% @private
-module(py_store).

-include_lib("kernel/include/file.hrl").

-export([directory/0, text/1, bytes/1, unusable/2, open/1, close/1, path/2, key/1]).
-export([is_name/1, is_project/1, write/2, sync_directory/1, ensure/1]).
-export_type([store/0]).

-record(store, {directory :: file:filename_all(), lock :: none | inet:socket()}).
-opaque store() :: #store{}.

-define(KEY_BYTES, 32).
-define(NAME, "\\A[a-z0-9][a-z0-9-]{0,62}\\z").
%% What a project can't be called: these are files and directories of the store.
-define(TAKEN, [<<"lock">>, <<"key">>, <<"journal">>, <<"runs">>, <<"envs">>, <<"incoming">>, <<"secrets">>]).
%% Of a node that was killed: until its end has been taken note of.
-define(RETRY_MS, 20).
-define(WAIT_MS, 1_000).

%% @doc The directory that the application's environment names (`state_dir'), or `$XDG_STATE_HOME/py', `~/.local/state/py'.
-spec directory() -> {configured | default, file:filename_all()} | {error, {py, py_error:reason()}}.
directory() ->
    case application:get_env(py, state_dir) of
        {ok, Path} when is_binary(Path), Path =/= <<>> -> {configured, filename:absname(Path)};
        {ok, [_ | _] = Path} -> {configured, filename:absname(Path)};
        {ok, Other} -> {error, {py, {bad_config, py, {bad_option, state_dir, Other, "the path of a directory"}}}};
        undefined -> default_directory(os:getenv("XDG_STATE_HOME"), os:getenv("HOME"))
    end.

%% As the XDG Base Directory Specification has it: a path that is not absolute is passed over.
default_directory([$/ | _] = State, _Home) -> {default, filename:join(State, "py")};
default_directory(_, [$/ | _] = Home) -> {default, filename:join([Home, ".local", "state", "py"])};
default_directory(_, _) -> {error, {py, {state_dir, "", "neither state_dir nor XDG_STATE_HOME nor HOME names a directory"}}}.

%% @doc Take the directory for the calling process, until that ends.
-spec open(file:filename_all()) -> {ok, store()} | {error, {py, py_error:reason()}}.
open(Directory) ->
    case ensure(Directory) of
        ok ->
            case own(Directory) of
                ok -> locked(Directory, erlang:monotonic_time(millisecond) + ?WAIT_MS);
                {error, Text} -> refused(Directory, Text)
            end;
        {error, Reason} ->
            unusable(Directory, Reason)
    end.

%% @doc An error that says of a path what the disk has said.
-spec unusable(file:filename_all(), file:posix() | atom()) -> {error, {py, py_error:reason()}}.
unusable(Path, Reason) -> refused(Path, posix(Reason)).

refused(Directory, Why) -> {error, {py, {state_dir, text(Directory), Why}}}.

posix(Reason) -> lists:flatten(io_lib:format("~ts", [file:format_error(Reason)])).

%% @doc A path as it is shown.
-spec text(file:filename_all()) -> string().
text(Path) when is_binary(Path) -> unicode:characters_to_list(Path, file:native_name_encoding());
text(Path) -> Path.

%% @doc A path as the system has it: as bytes, also under a locale that is not UTF-8.
-spec bytes(file:filename_all()) -> binary().
bytes(Path) when is_binary(Path) -> Path;
bytes(Path) -> unicode:characters_to_binary(Path, unicode, file:native_name_encoding()).

%% @doc Make a directory and those above it, closed to others.
-spec ensure(file:filename_all()) -> ok | {error, file:posix()}.
ensure(Directory) ->
    case file:make_dir(Directory) of
        ok ->
            file:change_mode(Directory, 8#700);
        {error, eexist} ->
            ok;
        {error, enoent} ->
            case filename:dirname(Directory) of
                Directory -> {error, enoent};
                Above ->
                    case ensure(Above) of
                        ok -> ensure(Directory);
                        Error -> Error
                    end
            end;
        Error ->
            Error
    end.

%% One of somebody else's is not used, and of one's own nobody else reads.
own(Directory) ->
    Probe = filename:join(Directory, ["probe.", os:getpid(), ".", integer_to_list(erlang:unique_integer([positive]))]),
    case file:write_file(Probe, <<>>, [exclusive]) of
        ok ->
            Mine = file:read_file_info(Probe),
            _ = file:delete(Probe),
            case {file:read_file_info(Directory), Mine} of
                {{ok, #file_info{type = directory, uid = User, mode = Mode}}, {ok, #file_info{uid = User}}} ->
                    closed(Directory, Mode band 8#777);
                {{ok, #file_info{type = directory}}, _} ->
                    {error, "it belongs to another user"};
                _ ->
                    {error, "it is no directory"}
            end;
        {error, enospc} ->
            %% What is there can be read.
            ok;
        {error, Reason} ->
            {error, posix(Reason)}
    end.

closed(_Directory, 8#700) ->
    ok;
closed(Directory, _Mode) ->
    case file:change_mode(Directory, 8#700) of
        ok -> ok;
        {error, Reason} -> {error, posix(Reason)}
    end.

%%% The lock

locked(Directory, Until) ->
    File = filename:join(Directory, <<"lock">>),
    case taken(Directory) of
        {ok, Socket} ->
            case holder(File) of
                {alive, OsPid} ->
                    let_go(Socket),
                    held(Directory, OsPid);
                over ->
                    case write(File, term_text(py_fence:own())) of
                        ok -> {ok, #store{directory = Directory, lock = Socket}};
                        {error, Reason} when Reason =:= enospc; Reason =:= edquot; Reason =:= efbig ->
                            {ok, #store{directory = Directory, lock = Socket}};
                        {error, Reason} ->
                            let_go(Socket),
                            unusable(Directory, Reason)
                    end
            end;
        {error, Reason} ->
            case erlang:monotonic_time(millisecond) > Until of
                true -> held(Directory, Reason, holder(File));
                false -> receive after ?RETRY_MS -> locked(Directory, Until) end
            end
    end.

held(Directory, eaddrinuse, {alive, OsPid}) -> held(Directory, OsPid);
held(Directory, eaddrinuse, over) -> refused(Directory, "another node has it, which does not say its number");
held(Directory, Reason, _Holder) -> unusable(Directory, Reason).

held(Directory, OsPid) -> refused(Directory, {locked, OsPid}).

%% The name in the kernel; `none' where there are no such names.
taken(Directory) ->
    case os:type() of
        {unix, linux} ->
            {ok, #file_info{major_device = Device, inode = Inode}} = file:read_file_info(Directory),
            Name = iolist_to_binary([0, "py-state-dir-", integer_to_list(Device), $-, integer_to_list(Inode)]),
            case gen_udp:open(0, [local, {ifaddr, {local, Name}}, {active, false}]) of
                {ok, Socket} -> {ok, Socket};
                {error, _} = Error -> Error
            end;
        _ ->
            {ok, none}
    end.

let_go(none) -> ok;
let_go(Socket) -> gen_udp:close(Socket).

%% Who the file says it is. This process's own is of a predecessor in it.
holder(File) ->
    case file:consult(File) of
        {ok, [#{os_pid := OsPid} = Process]} when is_integer(OsPid) ->
            case OsPid =/= list_to_integer(os:getpid()) andalso py_fence:is_alive(Process) of
                true -> {alive, OsPid};
                false -> over
            end;
        _ ->
            over
    end.

term_text(Term) -> unicode:characters_to_binary(io_lib:format("~tp.~n", [Term])).

%% @doc Let it go.
-spec close(store()) -> ok.
close(#store{directory = Directory, lock = Socket}) ->
    %% First: who takes it from here on writes another one.
    _ = file:delete(filename:join(Directory, <<"lock">>)),
    let_go(Socket).

%% @doc A path in it.
-spec path([file:name_all()], store()) -> file:filename_all().
path(Parts, #store{directory = Directory}) -> filename:join([Directory | Parts]).

%% @doc The key that signs what is to be read after restarts: made once.
-spec key(store()) -> {ok, binary()} | {error, {py, py_error:reason()}}.
key(#store{directory = Directory} = Store) ->
    File = path([<<"key">>], Store),
    case file:read_file(File) of
        {ok, Key} when byte_size(Key) =:= ?KEY_BYTES -> {ok, Key};
        {ok, _} -> refused(Directory, "the file key has not 32 bytes: what it signed can't be read without it");
        {error, enoent} ->
            Key = crypto:strong_rand_bytes(?KEY_BYTES),
            case write(File, Key) of
                ok -> {ok, Key};
                {error, Reason} -> unusable(Directory, Reason)
            end;
        {error, Reason} -> unusable(Directory, Reason)
    end.

%%% Files

%% @doc Write a file: whole, or not at all, whatever dies meanwhile.
-spec write(file:filename_all(), iodata()) -> ok | {error, file:posix()}.
write(Path, Bytes) ->
    New = iolist_to_binary([bytes(Path), ".new-", os:getpid(), $-, integer_to_list(erlang:unique_integer([positive]))]),
    Written = case file:open(New, [write, exclusive, raw, binary]) of
        {ok, File} ->
            Done = [file:change_mode(New, 8#600), file:write(File, Bytes), file:sync(File), file:close(File)],
            hd([Error || {error, _} = Error <- Done] ++ [ok]);
        Error ->
            Error
    end,
    case Written =:= ok andalso file:rename(New, Path) of
        ok -> sync_directory(filename:dirname(Path));
        false -> _ = file:delete(New), Written;
        Failed -> _ = file:delete(New), Failed
    end.

%% @doc Have what was made or renamed in a directory be there after the machine's death. Where a system can't say so, nobody can.
-spec sync_directory(file:filename_all()) -> ok.
sync_directory(Directory) ->
    case file:open(Directory, [read, raw, directory]) of
        {ok, File} -> _ = file:sync(File), _ = file:close(File), ok;
        {error, _} -> ok
    end.

%% @doc Whether it may be part of a path here: of a type, an entity, a function.
-spec is_name(term()) -> boolean().
is_name(Name) -> is_binary(Name) andalso re:run(Name, ?NAME, [{capture, none}]) =:= match.

%% @doc Whether a project may be called so: nothing else of the store's is.
-spec is_project(term()) -> boolean().
is_project(Name) -> is_name(Name) andalso not lists:member(Name, ?TAKEN).
