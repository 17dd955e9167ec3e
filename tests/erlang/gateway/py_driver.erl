%%% A driver in Erlang, for tests that say what no good driver says; it reads only when it is told to.
-module(py_driver).

-export([gateway/1, still_serves/1, connected/0, directory/0, connect/1, connect/2, hello/2, send/2, bytes/2, next/1, next/2, answer/2, answers/2, close/1, body/3, is_closed/1]).

-define(WAIT_MS, 20_000).

%% @doc The application with a gateway in a directory of its own: both are in what is returned.
-spec gateway(proplists:proplist()) -> proplists:proplist().
gateway(Config) ->
    Directory = directory(),
    Path = filename:join(Directory, "node.sock"),
    py_application:start([{default, #{size => 1}}]),
    {ok, Path} = py:start_gateway(#{path => Path}),
    [{directory, Directory}, {path, Path} | Config].

%% @doc End that; it has to serve still, and nobody may be connected.
-spec still_serves(proplists:proplist()) -> term().
still_serves(Config) ->
    {_, Driver} = connect(proplists:get_value(path, Config), #{role => driver}),
    send(Driver, {submit, 1, #{}, body(math, sqrt, [4])}),
    {done, trusted, {r, _, 2.0}} = answer(Driver, 1),
    close(Driver),
    py_eventually:equals([], fun connected/0),
    Stopped = py_application:stop(),
    ok = file:del_dir_r(proplists:get_value(directory, Config)),
    Stopped.

%% @doc The connections of all gateways.
-spec connected() -> [pid()].
connected() -> lists:append([Pids || #{connections := Pids} <- py:gateways()]).

%% @doc A new directory for a socket.
-spec directory() -> file:filename().
directory() -> string:trim(os:cmd("mktemp -d /tmp/py-gateway-XXXXXXXX")).

%% @doc The socket alone; nothing is said.
-spec connect(file:filename()) -> gen_tcp:socket().
connect(Path) ->
    {ok, Socket} = gen_tcp:connect({local, Path}, 0, [binary, {packet, raw}, {active, false}, {recbuf, 65_536}]),
    Socket.

%% @doc One that has said `hello', and been answered: what the node has said, and the driver.
-spec connect(file:filename(), map()) -> {Info :: map(), gen_tcp:socket()}.
connect(Path, Info) ->
    Socket = connect(Path),
    {hello, 1, Said} = hello(Socket, Info),
    {Said, Socket}.

%% @doc Say `hello'; the answer.
-spec hello(gen_tcp:socket(), map()) -> term().
hello(Socket, Info) ->
    send(Socket, {hello, 1, Info}),
    next(Socket).

-spec send(gen_tcp:socket(), term()) -> ok.
send(Socket, Message) ->
    Bytes = term_to_binary(Message),
    bytes(Socket, [<<(byte_size(Bytes)):32>>, Bytes]).

%% @doc Bytes as they are; where the node has hung up, that is no error of this side's.
-spec bytes(gen_tcp:socket(), iodata()) -> ok.
bytes(Socket, Bytes) ->
    _ = gen_tcp:send(Socket, Bytes),
    ok.

%% @doc The next message of the node; `closed' at the end.
-spec next(gen_tcp:socket()) -> term().
next(Socket) -> next(Socket, ?WAIT_MS).

-spec next(gen_tcp:socket(), timeout()) -> term().
next(Socket, Timeout) ->
    case gen_tcp:recv(Socket, 4, Timeout) of
        {ok, <<Size:32>>} ->
            {ok, Frame} = gen_tcp:recv(Socket, Size, ?WAIT_MS),
            binary_to_term(Frame);
        {error, closed} -> closed;
        {error, timeout} -> timeout
    end.

%% @doc The next message about this id; what else comes is dropped.
-spec answer(gen_tcp:socket(), non_neg_integer()) -> term().
answer(Socket, Id) ->
    case next(Socket) of
        {done, Id, Trust, Frame} -> {done, Trust, binary_to_term(Frame)};
        Message when element(2, Message) =:= Id -> Message;
        Message when is_tuple(Message) -> answer(Socket, Id);
        Other -> error({no_answer, Id, Other})
    end.

%% @doc The kinds of the next so many answers, by their ids.
-spec answers(gen_tcp:socket(), non_neg_integer()) -> [{non_neg_integer(), atom()}].
answers(_Socket, 0) ->
    [];
answers(Socket, Count) ->
    case next(Socket) of
        {done, Id, _, _} -> [{Id, done} | answers(Socket, Count - 1)];
        {failed, Id, Reason, _} -> [{Id, Reason} | answers(Socket, Count - 1)];
        Message when is_tuple(Message) -> answers(Socket, Count);
        Other -> error({no_answer, Other})
    end.

-spec close(gen_tcp:socket()) -> ok.
close(Socket) -> gen_tcp:close(Socket).

%% @doc Whether the node has hung up, or does within some seconds.
-spec is_closed(gen_tcp:socket()) -> boolean().
is_closed(Socket) ->
    case next(Socket) of
        closed -> true;
        timeout -> false;
        _ -> is_closed(Socket)
    end.

%% @doc The body of a call.
-spec body(atom(), atom(), [term()]) -> binary().
body(Module, Function, Args) ->
    iolist_to_binary(py_wire:body('erl.calls.objects', call, [0, Module, Function, Args, []])).
