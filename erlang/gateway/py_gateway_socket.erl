%%% @doc A gateway's socket in the file system: where it is, whether its place is one that nobody else can reach, and who is at the other end.
%%%
%%% The socket is bound under a name drawn by lot, closed, and only then linked to its own name: so it is never there with other rights,
%%% and of nodes that start at the same time one gets the name. See "Whose socket" in docs/architecture.md.
%%% @private
-module(py_gateway_socket).

-include_lib("kernel/include/file.hrl").

-export([path/1, listen/1, is_own_peer/2, until_read/2, close/2]).
-export_type([identity/0]).

-type identity() :: {Inode :: non_neg_integer(), User :: non_neg_integer()}.
%% Which file the socket is, and whose.

%% unix(7): `sun_path' has 108 bytes, the last one 0.
-define(MOST_BYTES, 107).
-define(RANDOM_BYTES, 6).
-define(HASH_DIGITS, 16).
-define(PROBE_MS, 1_000).
%% How long the name may be locked: longer than the question to a node that does not answer takes. And the pause between two looks.
-define(LOCK_SECONDS, 10).
-define(LOCK_MS, 20).
-define(LOCK_TRIES, 750).
%% socket(7), on Linux: SOL_SOCKET, SO_PEERCRED, and the size of `struct ucred'.
-define(SOL_SOCKET, 1).
-define(SO_PEERCRED, 17).
-define(UCRED_BYTES, 12).
-define(OPTIONS, [
    binary, {packet, raw}, {active, false}, {backlog, 64}, {buffer, 65_536}, {recbuf, 262_144}, {sndbuf, 262_144},
    {high_watermark, 65_536}, {low_watermark, 32_768}, {send_timeout, infinity}
]).

%% @doc The path of a socket: that of this user where it is `auto', and a short one in place of one that is too long for a socket.
-spec path(auto | file:name_all()) -> file:filename().
path(auto) ->
    short(filename:join([runtime_directory(), "erl-py", "node.sock"]));
path(File) ->
    short(filename:absname(unicode:characters_to_list(File, file:native_name_encoding()))).

runtime_directory() ->
    case [Path || Path <- [absolute("XDG_RUNTIME_DIR"), absolute("XDG_STATE_HOME")], Path =/= none] of
        [Path | _] -> Path;
        [] -> filename:join([home(), ".local", "state"])
    end.

absolute(Variable) ->
    case os:getenv(Variable) of
        [$/ | _] = Path -> Path;
        _ -> none
    end.

home() ->
    case init:get_argument(home) of
        {ok, [[Home]]} -> Home;
        _ -> "/"
    end.

short(Path) ->
    Bytes = unicode:characters_to_binary(Path, unicode, file:native_name_encoding()),
    case byte_size(Bytes) =< ?MOST_BYTES of
        true ->
            Path;
        false ->
            Digits = binary:part(string:lowercase(binary:encode_hex(crypto:hash(sha256, Bytes))), 0, ?HASH_DIGITS),
            lists:flatten(io_lib:format("/tmp/erl-py-~w/~ts.sock", [py_sandbox_host:own_user(), Digits]))
    end.

%% @doc A socket that listens there; its directory is made where it is missing.
-spec listen(file:filename()) -> {ok, gen_tcp:socket(), identity()} | {error, unicode:chardata()}.
listen(Path) ->
    User = py_sandbox_host:own_user(),
    Directory = filename:dirname(Path),
    case length(filename:split(Path)) > 2 andalso made(Directory, User) of
        ok ->
            bound(Path, filename:join(Directory, "." ++ lot()), User);
        {error, _} = Error ->
            Error;
        false ->
            {error, "its directory can't be closed to others"}
    end.

lot() -> string:lowercase(binary_to_list(binary:encode_hex(crypto:strong_rand_bytes(?RANDOM_BYTES)))).

%% What is above it is made with the rights that other programs give it.
made(Directory, User) ->
    _ = filelib:ensure_dir(Directory),
    _ = file:make_dir(Directory) =:= ok andalso file:change_mode(Directory, 8#700),
    case file:read_link_info(Directory) of
        {ok, #file_info{type = directory, uid = User, mode = Mode}} when Mode band 8#777 =:= 8#700 ->
            case py_directory:is_safe(filename:dirname(Directory), User) of
                true -> ok;
                false -> {error, [Directory, " can be replaced by other users: a directory on the way there is not yours, or others may write in it"]}
            end;
        {ok, #file_info{type = directory, uid = User, mode = Mode}} ->
            {error, io_lib:format("its directory ~ts lets others in (mode ~.8B): chmod 700 closes it", [Directory, Mode band 8#777])};
        {ok, #file_info{type = directory, uid = Other}} ->
            {error, io_lib:format("its directory ~ts belongs to another user (~w)", [Directory, Other])};
        {ok, #file_info{type = symlink}} ->
            {error, ["its directory ", Directory, " is a symbolic link"]};
        {ok, _} ->
            {error, [Directory, " is no directory"]};
        {error, Reason} ->
            {error, [Directory, ": ", file:format_error(Reason)]}
    end.

bound(Path, Temporary, User) ->
    case gen_tcp:listen(0, [{ifaddr, {local, Temporary}} | ?OPTIONS]) of
        {ok, Socket} ->
            case file:change_mode(Temporary, 8#600) =:= ok andalso locked(Path, fun() -> linked(Temporary, Path) end) of
                ok ->
                    _ = file:delete(Temporary, [raw]),
                    {ok, #file_info{inode = Inode}} = file:read_link_info(Path),
                    %% Where this BEAM is killed, `py_watchdog' takes the socket away.
                    _ = file:make_symlink(Path, py_directory:socket(Inode)),
                    {ok, Socket, {Inode, User}};
                Failed ->
                    gen_tcp:close(Socket),
                    _ = file:delete(Temporary, [raw]),
                    failed(Failed, Path)
            end;
        {error, Reason} ->
            {error, [Path, ": ", inet:format_error(Reason)]}
    end.

failed({error, Reason}, Path) when is_atom(Reason) -> {error, [Path, ": ", file:format_error(Reason)]};
failed({error, _} = Error, _Path) -> Error;
failed(false, Path) -> {error, [Path, ": its mode can't be changed"]}.

%% Of those that find the name of a dead node at the same time one takes it away. A lock that is older than what its holder does takes is
%% that of one that was killed.
locked(Path, Fun) -> locked(filename:join(filename:dirname(Path), "." ++ filename:basename(Path) ++ ".lock"), Fun, ?LOCK_TRIES).

locked(_Lock, _Fun, 0) ->
    {error, "another node is about to take this path"};
locked(Lock, Fun, Left) ->
    case file:make_dir(Lock) of
        ok ->
            try
                Fun()
            after
                _ = file:del_dir(Lock)
            end;
        {error, eexist} ->
            _ = case file:read_link_info(Lock, [{time, posix}]) of
                {ok, #file_info{type = directory, mtime = Made}} ->
                    abs(os:system_time(second) - Made) > ?LOCK_SECONDS andalso file:del_dir(Lock);
                _ ->
                    ok
            end,
            receive after ?LOCK_MS -> ok end,
            locked(Lock, Fun, Left - 1);
        {error, _} = Error ->
            Error
    end.

linked(Temporary, Path) ->
    case file:make_link(Temporary, Path) of
        {error, eexist} ->
            case taken(Path) of
                free -> file:make_link(Temporary, Path);
                Error -> Error
            end;
        Result ->
            Result
    end.

%% Who lives answers; a socket that refuses is nobody's any more.
taken(Path) ->
    case file:read_link_info(Path) of
        {ok, #file_info{type = other}} ->
            case gen_tcp:connect({local, Path}, 0, [binary, {active, false}], ?PROBE_MS) of
                {ok, Socket} ->
                    gen_tcp:close(Socket),
                    {error, [Path, " belongs to a node that runs"]};
                {error, econnrefused} ->
                    case file:delete(Path, [raw]) of
                        ok -> free;
                        {error, _} = Error -> Error
                    end;
                {error, enoent} ->
                    free;
                {error, Reason} ->
                    {error, [Path, " is taken, by whom it does not tell: ", inet:format_error(Reason)]}
            end;
        {ok, _} ->
            {error, [Path, " is there, and is no socket"]};
        {error, enoent} ->
            free;
        {error, Reason} ->
            {error, Reason}
    end.

%% @doc Whether the process at the other end of a connection is this user's, as the system says.
-spec is_own_peer(gen_tcp:socket(), identity()) -> boolean().
is_own_peer(Socket, {_Inode, User}) ->
    case inet:getopts(Socket, [{raw, ?SOL_SOCKET, ?SO_PEERCRED, ?UCRED_BYTES}]) of
        {ok, [{raw, _, _, <<_OsPid:32/native, User:32/native, _Group:32/native>>}]} -> true;
        _ -> false
    end.

%% @doc Wait until the other end of the calling process's connection has closed it, or so long: a socket that is closed with bytes unread takes
%% from the other end what it has not read.
-spec until_read(gen_tcp:socket(), Ms :: pos_integer()) -> ok.
until_read(Socket, Ms) ->
    _ = inet:setopts(Socket, [{active, once}]),
    _ = erlang:start_timer(Ms, self(), until_read),
    closed(Socket).

closed(Socket) ->
    receive
        {tcp, Socket, _} ->
            _ = inet:setopts(Socket, [{active, once}]),
            closed(Socket);
        {tcp_closed, Socket} -> ok;
        {tcp_error, Socket, _} -> ok;
        {timeout, _, until_read} -> ok
    end.

%% @doc Close it and take its name away, if it is still that of this socket.
-spec close(gen_tcp:socket(), {file:filename(), identity()}) -> ok.
close(Socket, {Path, {Inode, _User}}) ->
    gen_tcp:close(Socket),
    _ = file:delete(py_directory:socket(Inode), [raw]),
    case file:read_link_info(Path) of
        {ok, #file_info{inode = Inode}} ->
            _ = file:delete(Path, [raw]),
            ok;
        _ ->
            ok
    end.
