%%% @doc The key that signs opaque pickles: one for all nodes that share a cookie, else one for this run of the node.
%%%
%%% It is the same for a whole run of the application, whatever becomes of the cookie meanwhile. It is made from the cookie by
%%% PBKDF2 (RFC 8018), so that whoever has an opaque and guesses cookies needs as long for each guess as this node for all.
%%%
%%% What former keys have signed is still read: of the last three other cookies (or of none) that the application has started with on
%%% this node, kept in its memory for as long as it runs, and of `former_cookies' in the application's environment. Nothing is signed with them.
%%% @private
-module(py_key).

-export([begin_run/0, get/0, get/1, former/0, former/1]).

%% A guess takes some 50 ms of a core, in place of a microsecond.
-define(ROUNDS, 100_000).
-define(BYTES, 32).
%% Each is one more signature to compute of what nobody here has signed.
-define(MOST_FORMER, 3).

-type key() :: <<_:256>>.

%% @doc The application starts: the key is that of the cookie that the node has now.
-spec begin_run() -> ok.
begin_run() ->
    {Met, Named} = persistent_term:get(?MODULE, {[], []}),
    Known = Met ++ Named,
    [{Cookie, _} | _] = Now = with_key(erlang:get_cookie(), Known, lists:keydelete(erlang:get_cookie(), 1, Met)),
    {ok, Cookies} = py_config:former_cookies(),
    Former = lists:foldl(fun(Each, Keys) -> with_key(Each, Known, Keys) end, [], Cookies -- [Cookie]),
    persistent_term:put(?MODULE, {lists:sublist(Now, 1 + ?MOST_FORMER), Former}).

with_key(Cookie, Known, Keys) ->
    case lists:keyfind(Cookie, 1, Known) of
        false -> [{Cookie, made(Cookie)} | Keys];
        Same -> [Same | Keys]
    end.

made(nocookie) ->
    crypto:strong_rand_bytes(?BYTES);
made(Cookie) ->
    crypto:pbkdf2_hmac(sha256, atom_to_binary(Cookie, utf8), <<"py opaque pickles\0">>, ?ROUNDS, ?BYTES).

%% @doc 32 bytes.
-spec get() -> key().
get() ->
    {[{_Cookie, Key} | _], _} = persistent_term:get(?MODULE),
    Key.

%% @doc The key of an interpreter of a pool with these options: the nodes' own, or for a sandboxed one a key that nobody
%% else has. What it signs nobody else reads.
-spec get(py_config:pool()) -> key().
get(#{sandbox := none}) -> ?MODULE:get();
get(_) -> crypto:strong_rand_bytes(?BYTES).

%% @doc The keys of before, for reading only.
-spec former() -> [key()].
former() ->
    {[_ | Met], Named} = persistent_term:get(?MODULE),
    lists:usort([Key || {_, Key} <- Met ++ Named]).

%% @doc The same for an interpreter of a pool with these options; none for a sandboxed one.
-spec former(py_config:pool()) -> [key()].
former(#{sandbox := none}) -> former();
former(_) -> [].
