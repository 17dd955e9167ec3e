%%% A client of HTTP/1.1 over a bare socket, for tests that say what no good client says.
-module(py_http).

-export([connect/1, send/2, get/2, get/3, post/4, request/4, response/1, once/2, raw/2, close/1]).

-define(WAIT_MS, 60_000).

-type response() :: {Status :: 100..599, Headers :: #{binary() => binary()}, Body :: binary()} | closed | {broken, binary()}.

-spec connect(inet:port_number()) -> gen_tcp:socket().
connect(Port) ->
    {ok, Socket} = gen_tcp:connect({127, 0, 0, 1}, Port, [binary, {packet, raw}, {active, false}], ?WAIT_MS),
    Socket.

-spec close(gen_tcp:socket()) -> ok.
close(Socket) -> gen_tcp:close(Socket).

-spec send(gen_tcp:socket(), iodata()) -> ok | {error, term()}.
send(Socket, Data) -> gen_tcp:send(Socket, Data).

-spec request(iodata(), iodata(), [{iodata(), iodata()}], iodata()) -> iodata().
request(Method, Path, Headers, Body) ->
    Length = [{"content-length", integer_to_list(iolist_size(Body))} || iolist_size(Body) > 0],
    Lines = [[Name, ": ", Value, "\r\n"] || {Name, Value} <- [{"host", "localhost"} | Headers ++ Length]],
    [Method, " ", Path, " HTTP/1.1\r\n", Lines, "\r\n", Body].

%% @doc One request on a connection that stays.
-spec get(gen_tcp:socket(), iodata()) -> response().
get(Socket, Path) -> get(Socket, Path, []).

-spec get(gen_tcp:socket(), iodata(), [{iodata(), iodata()}]) -> response().
get(Socket, Path, Headers) ->
    case send(Socket, request("GET", Path, Headers, "")) of
        ok -> response(Socket);
        {error, _} -> closed
    end.

-spec post(gen_tcp:socket(), iodata(), [{iodata(), iodata()}], iodata()) -> response().
post(Socket, Path, Headers, Body) ->
    ok = send(Socket, request("POST", Path, Headers, Body)),
    response(Socket).

%% @doc A request on a connection of its own.
-spec once(inet:port_number(), iodata()) -> response().
once(Port, Path) ->
    Socket = connect(Port),
    try
        get(Socket, Path)
    after
        close(Socket)
    end.

%% @doc These bytes on a connection of its own, whose end is then closed for writing; all that comes.
-spec raw(inet:port_number(), iodata()) -> binary().
raw(Port, Bytes) ->
    Socket = connect(Port),
    try
        _ = send(Socket, Bytes),
        rest(Socket, <<>>)
    after
        close(Socket)
    end.

rest(Socket, Acc) ->
    case gen_tcp:recv(Socket, 0, ?WAIT_MS) of
        {ok, Data} -> rest(Socket, <<Acc/binary, Data/binary>>);
        {error, closed} -> Acc;
        {error, Reason} -> error({no_answer, Reason, Acc})
    end.

%% @doc The next response. `{broken, Body}': the connection ended in its middle.
-spec response(gen_tcp:socket()) -> response().
response(Socket) -> head(Socket, <<>>).

head(Socket, Data) ->
    case binary:split(Data, <<"\r\n\r\n">>) of
        [Head, Rest] ->
            [<<"HTTP/1.1 ", Status:3/binary, _/binary>> | Lines] = binary:split(Head, <<"\r\n">>, [global]),
            Headers = maps:from_list([
                {string:lowercase(Name), re:replace(Value, "^ +| +$", "", [global, {return, binary}])}
             || Line <- Lines, [Name, Value] <- [binary:split(Line, <<":">>)]
            ]),
            case {binary_to_integer(Status), Headers} of
                {100, _} -> head(Socket, Rest);
                {Code, #{<<"content-length">> := Length}} -> body(Socket, Code, Headers, Rest, binary_to_integer(Length));
                {Code, #{<<"transfer-encoding">> := <<"chunked">>}} -> chunks(Socket, Code, Headers, Rest, <<>>);
                {Code, _} -> {Code, Headers, <<>>}
            end;
        [_] ->
            case gen_tcp:recv(Socket, 0, ?WAIT_MS) of
                {ok, More} -> head(Socket, <<Data/binary, More/binary>>);
                {error, closed} -> closed;
                {error, econnreset} -> closed
            end
    end.

body(_Socket, Status, Headers, Data, Length) when byte_size(Data) >= Length -> {Status, Headers, binary:part(Data, 0, Length)};
body(Socket, Status, Headers, Data, Length) ->
    case gen_tcp:recv(Socket, 0, ?WAIT_MS) of
        {ok, More} -> body(Socket, Status, Headers, <<Data/binary, More/binary>>, Length);
        {error, _} -> {broken, Data}
    end.

chunks(Socket, Status, Headers, Data, Acc) ->
    case binary:split(Data, <<"\r\n">>) of
        [Size, Rest] ->
            Length = binary_to_integer(Size, 16),
            case Rest of
                <<_:Length/binary, "\r\n", _/binary>> when Length =:= 0 -> {Status, Headers, Acc};
                <<Chunk:Length/binary, "\r\n", Next/binary>> -> chunks(Socket, Status, Headers, Next, <<Acc/binary, Chunk/binary>>);
                _ -> more(Socket, Status, Headers, Data, Acc)
            end;
        [_] ->
            more(Socket, Status, Headers, Data, Acc)
    end.

more(Socket, Status, Headers, Data, Acc) ->
    case gen_tcp:recv(Socket, 0, ?WAIT_MS) of
        {ok, More} -> chunks(Socket, Status, Headers, <<Data/binary, More/binary>>, Acc);
        {error, _} -> {broken, Acc}
    end.
