%%% @doc Which role a connection has: that of its socket, or of a token that is good for one connection. What is kept of a token is its hash.
%%% @private
-module(py_gateway_tokens).

-export([new/0, make/1, role/2]).

-define(TABLE, ?MODULE).
-define(BYTES, 32).
-define(VALID_MS, 60_000).

%% @doc Make the table; it belongs to the calling process.
-spec new() -> ok.
new() ->
    ?TABLE = ets:new(?TABLE, [named_table, public, set]),
    ok.

%% @doc A token for one connection within a minute.
-spec make(py_gateway_wire:role()) -> binary().
make(Role) ->
    Now = erlang:monotonic_time(millisecond),
    %% Those that nobody took.
    _ = ets:select_delete(?TABLE, [{{'_', '_', '$1'}, [{'<', '$1', Now}], [true]}]),
    Token = crypto:strong_rand_bytes(?BYTES),
    true = ets:insert(?TABLE, {hash(Token), Role, Now + ?VALID_MS}),
    Token.

%% @doc The role of a connection by its `hello', through a socket of that role. A token says what its holder is, whatever the socket; nobody gets
%% more than he has.
-spec role(py_gateway_wire:info(), Own :: py_gateway_wire:role()) ->
    {ok, py_gateway_wire:role()} | {error, Reason :: term(), unicode:chardata()}.
role(#{token := Token} = Info, _Own) ->
    case take(Token) of
        {ok, Role} -> asked(maps:get(role, Info, Role), Role);
        error -> {error, token, "the token is unknown, used or too old"}
    end;
role(Info, Own) ->
    asked(maps:get(role, Info, Own), Own).

asked(Role, Own) when Role =:= Own; Own =:= driver -> {ok, Role};
asked(_Role, Own) -> {error, {role, Own}, io_lib:format("this socket is for ~ts connections", [Own])}.

take(Token) ->
    case ets:take(?TABLE, hash(Token)) of
        [{_, Role, Until}] ->
            case erlang:monotonic_time(millisecond) =< Until of
                true -> {ok, Role};
                false -> error
            end;
        [] ->
            error
    end.

hash(Token) -> crypto:hash(sha256, Token).
