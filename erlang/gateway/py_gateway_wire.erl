%%% @doc What drivers and nodes tell each other, as bytes and back. Pure. The messages are in docs/architecture.md, "The gateway".
%%%
%%% A driver's answer is put together from a head that is made here and the worker's frame as it came.
%%% @private
-module(py_gateway_wire).

-export([version/0, greeting_bytes/0, packet_bytes/0, packet_bytes/1, input/0, split/3, next/1]).
-export([hello/1, read/4, is_body/1, atom/1]).
-export([own_info/1, encode/1, done/3, failed/2, overload/1, simple/1]).
-export_type([role/0, info/0, id/0, frame/0, spelled/0]).

-type role() :: py_gateway_options:role().
-type info() :: #{role => role(), token => binary(), log => boolean(), atom() => term()}.
-type id() :: non_neg_integer().
-type frame() :: {iodata(), Bytes :: pos_integer()}.
%% A frame with its length in front, and how many bytes that is.
-type spelled() :: {Bytes :: binary(), Route :: map()}.

-define(VERSION, 1).
-define(ETF_VERSION, 131).
-define(GREETING_BYTES, 65_536).
-define(GREETING_WORDS, 65_536).
-define(PACKET_BYTES, 67_108_864).
%% What a task begins with, up to its id, and how many bytes that is with it; a route that takes more than so many is not remembered.
-define(SUBMIT, ?ETF_VERSION, 104, 4, 100, 6:16, "submit", 98).
-define(SUBMIT_BYTES, 17).
-define(MOST_SPELLED, 1_024).
%% What a reason may hold of a list, of a text, and how deep it may be.
-define(MOST_ITEMS, 64).
-define(MOST_TEXT, 16_384).
-define(MOST_DEPTH, 12).

%% @doc The number of this protocol.
-spec version() -> pos_integer().
version() -> ?VERSION.

%% @doc The longest frame of somebody who has not said `hello'.
-spec greeting_bytes() -> pos_integer().
greeting_bytes() -> ?GREETING_BYTES.

%% @doc The longest frame of a driver.
-spec packet_bytes() -> pos_integer().
packet_bytes() -> ?PACKET_BYTES.

%% @doc The longest frame of somebody in this role.
-spec packet_bytes(role()) -> pos_integer().
packet_bytes(observer) -> ?GREETING_BYTES;
packet_bytes(_) -> ?PACKET_BYTES.

%% @doc No bytes yet.
-spec input() -> py_wire:input().
input() -> py_wire:input().

%% @doc The frames that more bytes complete, see {@link py_wire:split/3}.
-spec split(binary(), py_wire:input(), pos_integer()) -> {ok, Frames :: binary(), py_wire:input()} | {error, Head :: binary()}.
split(Data, Input, Most) -> py_wire:split(Data, Input, Most).

%% @doc The first of some frames, and the others.
-spec next(Frames :: binary()) -> {Frame :: binary(), Frames :: binary()}.
next(<<Length:32, Frame:Length/binary, Rest/binary>>) -> {Frame, Rest}.

%%% From the driver

%% @doc The first frame. Nothing is decoded that could leave anything behind: no new atom, no handle, no function, nothing compressed.
-spec hello(binary()) -> {ok, info()} | {error, {version, pos_integer()} | bad_hello}.
hello(Frame) ->
    case py_etf:look(Frame, ?GREETING_WORDS) of
        {ok, _Words, []} ->
            try binary_to_term(Frame, [safe, used]) of
                {{hello, ?VERSION, Info}, Used} when Used =:= byte_size(Frame), is_map(Info) -> checked(Info);
                {{hello, Version, _Info}, _} when is_integer(Version) -> {error, {version, ?VERSION}};
                _ -> {error, bad_hello}
            catch
                error:_ -> {error, bad_hello}
            end;
        _ ->
            {error, bad_hello}
    end.

checked(Info) ->
    Known = maps:with([role, token, log, os_pid, python, path], Info),
    case lists:all(fun is_info/1, maps:to_list(Known)) of
        true -> {ok, Known};
        false -> {error, bad_hello}
    end.

is_info({role, Role}) -> lists:member(Role, [driver, front, observer]);
is_info({token, Token}) -> is_binary(Token);
is_info({log, Log}) -> is_boolean(Log);
is_info({_, _}) -> true.

%% @doc A frame of somebody who has said `hello' and has this role. New atoms are a driver's alone, from its budget: with more than that its
%% message is none, which `refused' says, and whose it would have been. The others' messages hold nothing that could stay, or be large.
-spec message(binary(), role(), py_atoms:budget()) ->
    {ok, tuple()} | {refused, id() | none, unicode:chardata()} | {error, unicode:chardata()}.
message(Frame, driver, Atoms) ->
    case py_atoms:decode(Frame, Atoms) of
        {refused, Text} -> {refused, request(Frame), Text};
        Decoded -> with_parts(Decoded)
    end;
message(Frame, _Role, _Atoms) ->
    case py_etf:look(Frame, ?GREETING_WORDS) of
        {ok, _Words, []} -> with_parts(py_atoms:known(Frame));
        _ -> with_parts(error)
    end.

with_parts({ok, Message}) when is_tuple(Message), tuple_size(Message) > 0 -> {ok, Message};
with_parts(_) -> {error, "a frame that is no message"}.

%% The id of what would be answered, by its first bytes.
request(<<?ETF_VERSION, 104, _, Bytes/binary>>) ->
    case atom(Bytes) of
        {Kind, Rest} when Kind =:= <<"submit">>; Kind =:= <<"call">>; Kind =:= <<"start_pool">>; Kind =:= <<"stop_pool">> -> number(Rest);
        _ -> none
    end;
request(_) ->
    none.

number(<<97, Id, _/binary>>) -> Id;
number(<<98, Id:32/signed, _/binary>>) when Id >= 0 -> Id;
number(_) -> none.

%% @doc What a frame says of somebody in this role, who may say it; and how the route of his last task was spelled, for the next one:
%% drivers have few routes, and say them again and again.
-spec read(binary(), role(), py_atoms:budget(), none | spelled()) ->
    {ok, tuple(), none | spelled()} | {refused, id() | none, unicode:chardata()} | {error, unicode:chardata()}.
read(Frame, Role, Atoms, Spelled) ->
    case again(Frame, Spelled) of
        no -> allowed(message(Frame, Role, Atoms), Frame, Role, Spelled);
        Submit -> {ok, Submit, Spelled}
    end.

allowed({ok, Message}, Frame, Role, Before) ->
    case is_message(Message, Role) of
        true -> {ok, Message, spelled(Frame, Message, Before)};
        false -> {error, io_lib:format("~tp may not say ~tP", [Role, Message, 12])}
    end;
allowed(Refused, _Frame, _Role, _Before) ->
    Refused.

spelled(Frame, {submit, _Id, Route, Body}, _) when byte_size(Frame) - byte_size(Body) =< ?MOST_SPELLED ->
    Size = max(0, byte_size(Frame) - ?SUBMIT_BYTES - 5 - byte_size(Body)),
    case Frame of
        <<?SUBMIT, _:32, Spelled:Size/binary, 109, _/binary>> -> {binary:copy(Spelled), Route};
        _ -> none
    end;
spelled(_Frame, _Message, Before) ->
    Before.

again(<<?SUBMIT, 0:1, Id:31, Rest/binary>>, {Spelled, Route}) ->
    Size = byte_size(Spelled),
    case Rest of
        %% A copy: the bytes that a read has brought may be many more, and would stay as long as this task.
        <<Spelled:Size/binary, 109, Bytes:32, Body:Bytes/binary>> -> {submit, Id, Route, binary:copy(Body)};
        _ -> no
    end;
again(_Frame, _Spelled) ->
    no.

%% @doc Whether somebody in this role may say it.
-spec is_message(tuple(), role()) -> boolean().
is_message({submit, Id, Route, Body}, Role) -> is_id(Id) andalso is_map(Route) andalso is_binary(Body) andalso Role =/= observer;
is_message({cancel, Id}, Role) -> is_id(Id) andalso Role =/= observer;
is_message({drop, Id}, Role) -> is_id(Id) andalso Role =/= observer;
is_message({status, Id}, _Role) -> is_id(Id);
is_message(Message, driver) -> is_order(Message);
is_message(_, _) -> false.

is_order({call, Id, M, F, Args}) -> is_id(Id) andalso is_atom(M) andalso is_atom(F) andalso is_proper(Args);
is_order({cast, To, _}) -> is_pid(To) orelse is_atom(To);
is_order({release, What}) -> is_proper(What);
is_order({start_pool, Id, Options}) -> is_id(Id) andalso is_map(Options);
is_order({stop_pool, Id, Name}) -> is_id(Id) andalso is_atom(Name);
is_order({stop, Id}) -> is_id(Id);
is_order(_) -> false.

%% @doc Whether the body of a call is what `py_wire:body/3' makes: two atoms and a list. What a worker can't read it can't answer.
-spec is_body(binary()) -> boolean().
is_body(Body) ->
    case after_atom(after_atom(Body)) of
        %% As those of nearly all tasks: one binary.
        <<108, 1:32, 109, Size:32, _:Size/binary, 106>> -> true;
        <<Tag, _/binary>> = Args when Tag =:= 106; Tag =:= 107; Tag =:= 108 -> py_etf:is_term(Args);
        _ -> false
    end.

after_atom(Bytes) ->
    case atom(Bytes) of
        {_, Rest} -> Rest;
        error -> <<>>
    end.

%% @doc The name of an encoded atom, and what follows it. It makes none.
%%
%% Of the ERTS external term format: ATOM_EXT, 100; SMALL_ATOM_EXT, 115; ATOM_UTF8_EXT, 118; SMALL_ATOM_UTF8_EXT, 119.
-spec atom(binary()) -> {Name :: binary(), Rest :: binary()} | error.
atom(<<Tag, Size, Name:Size/binary, Rest/binary>>) when Tag =:= 115; Tag =:= 119 -> {Name, Rest};
atom(<<Tag, Size:16, Name:Size/binary, Rest/binary>>) when Tag =:= 100; Tag =:= 118 -> {Name, Rest};
atom(_) -> error.

is_id(Id) -> is_integer(Id) andalso Id >= 0.

is_proper(List) when length(List) >= 0 -> true;
is_proper(_) -> false.

%%% To the driver

%% @doc What the calling process says of itself and its node, in `hello', to somebody in this role.
-spec own_info(role()) -> map().
own_info(Role) ->
    #{
        node => node(),
        os_pid => list_to_integer(os:getpid()),
        role => Role,
        connection => self(),
        packet_bytes => packet_bytes(Role)
    }.

%% @doc A message.
-spec encode(tuple()) -> frame().
encode(Message) ->
    Bytes = erlang:term_to_iovec(Message),
    Size = iolist_size(Bytes),
    {[<<Size:32>> | Bytes], Size + 4}.

%% @doc `{done, Id, Trust, Frame}', the frame as it came.
-spec done(id(), trusted | box, binary()) -> frame().
done(Id, Trust, Frame) ->
    Encoded = encoded(Id),
    Size = byte_size(Frame),
    {Name, Length} =
        case Trust of
            trusted -> {<<119, 7, "trusted">>, 9};
            box -> {<<119, 3, "box">>, 5}
        end,
    Whole = 3 + 6 + byte_size(Encoded) + Length + 5 + Size,
    {[<<Whole:32, ?ETF_VERSION, 104, 4, 119, 4, "done", Encoded/binary, Name/binary, 109, Size:32>>, Frame], Whole + 4}.

encoded(Id) when Id =< 16#7fffffff -> <<98, Id:32>>;
encoded(Id) ->
    <<?ETF_VERSION, Encoded/binary>> = term_to_binary(Id),
    Encoded.

%% @doc `{failed, Id, Reason, Text}' for `{py, Reason}'.
-spec failed(id(), term()) -> frame().
failed(Id, Reason) -> encode({failed, Id, simple(Reason), text(Reason)}).

%% @doc `{failed, Id, overload, Text}' for what is more than a driver may have open.
-spec overload(id()) -> frame().
overload(Id) -> encode({failed, Id, overload, <<"more requests are open than open_tasks and open_bytes of hello allow">>}).

text(Reason) ->
    case unicode:characters_to_binary(py_error:text({py, Reason})) of
        Text when byte_size(Text) =< ?MOST_TEXT -> Text;
        Text -> unicode:characters_to_binary(string:slice(Text, 0, ?MOST_TEXT div 4))
    end.

%% @doc A reason made of atoms, numbers, tuples, lists and binaries, of a bounded size.
-spec simple(term()) -> term().
simple(Term) -> simple(Term, ?MOST_DEPTH).

simple(Term, _) when is_atom(Term); is_number(Term); is_pid(Term) -> Term;
simple(Term, _) when is_binary(Term), byte_size(Term) =< ?MOST_TEXT -> Term;
simple(Term, Depth) when is_tuple(Term), Depth > 0, tuple_size(Term) =< ?MOST_ITEMS ->
    list_to_tuple([simple(Each, Depth - 1) || Each <- tuple_to_list(Term)]);
simple([], _) ->
    [];
simple(Term, Depth) when length(Term) >= 0, Depth > 0 ->
    case length(Term) =< ?MOST_TEXT andalso io_lib:printable_unicode_list(Term) of
        true -> unicode:characters_to_binary(Term);
        false when length(Term) =< ?MOST_ITEMS -> [simple(Each, Depth - 1) || Each <- Term];
        false -> shown(Term)
    end;
simple(Term, _) ->
    shown(Term).

shown(Term) -> unicode:characters_to_binary(io_lib:format("~0tP", [Term, 30])).
