%%% @doc Tokens that fix a connection's role once. What is kept of one is its hash.
%%% @private
-module(py_gateway_tokens).

-export([new/0, make/1, take/1]).

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

%% @doc What it is for; it is used then.
-spec take(binary()) -> {ok, py_gateway_wire:role()} | error.
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
