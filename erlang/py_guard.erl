%%% @doc What a sandboxed Python may say. Pure.
%%%
%%% Whoever has taken over a sandboxed interpreter writes what they like to its port. So each frame is held to what a good one
%%% has reason to send: answers to the calls that it was given, with values that are only values; texts and log records of a
%%% bounded size and rate; calls of the functions that the pool lists. What goes beyond is dropped, refused, or ends the
%%% interpreter.
-module(py_guard).

-export([new/1, budget/2, request/4, answered/1, is_request/1, is_bearable/1, value/2, failure/2, visible/1]).
-export_type([guard/0, verdict/0]).

-record(guard, {
    %% The second that the next two are counted in, by the monotonic clock.
    second = 0 :: integer(),
    bytes = 0 :: non_neg_integer(),
    records = 0 :: non_neg_integer(),
    %% Calls of Erlang that have no answer yet, and those that were refused.
    open = 0 :: non_neg_integer(),
    refused = 0 :: non_neg_integer(),
    has_warned = false :: boolean(),
    callbacks :: none | [{module(), atom()}]
}).
-opaque guard() :: #guard{}.
-type verdict() ::
    {do, py_wire:request(), guard()}
    | {drop, guard()}
    | {warn, Text :: string(), guard()}
    | doom.
%% To be done as it stands there; not done; not done, and the operator is told; not done, and it is killed.

-define(MOST_BYTES, 1_048_576).
-define(MOST_RECORDS, 1_000).
-define(MOST_TEXT, 65_536).
-define(MOST_OPEN, 100).
-define(MOST_REFUSED, 10_000).
%% References that one message may name.
-define(MOST_IDS, 10_000).
%% A request of more bytes is none.
-define(MOST_REQUEST, 4_194_304).
%% A term takes at most so many times the bytes of its frame (a list of empty lists does); frames that could be large then are
%% looked through for how much it would be.
-define(SMALL_FRAME, 16_777_216).
-define(MOST_WORDS, 67_108_864).

%% @doc For one interpreter of a pool with these options; `undefined' where it is trusted.
-spec new(py_config:pool()) -> guard() | undefined.
new(#{sandbox := none}) -> undefined;
new(#{callbacks := Callbacks}) -> #guard{callbacks = Callbacks}.

%% @doc Whose atoms the Python of a worker of this pool makes. The workers of sessions, each of which is somebody else's, have
%% one pool: what one of them spends must not be missing in the next.
-spec budget(py_config:pool_name(), py_config:pool()) -> py_atoms:budget().
budget(_Pool, #{sandbox := none}) ->
    node;
budget(Pool, _Config) ->
    case py_config:session_pool() of
        Pool -> py_atoms:session();
        _ -> {sandbox, Pool}
    end.

%% @doc What is to become of a request at this time.
-spec request(py_wire:request() | error, Worker :: pid(), NowMs :: integer(), guard()) -> verdict().
request(Request, Worker, NowMs, Guard) -> judge(Request, Worker, in_second(NowMs div 1_000, Guard)).

in_second(Second, #guard{second = Second} = Guard) -> Guard;
in_second(Second, Guard) -> Guard#guard{second = Second, bytes = 0, records = 0}.

judge({print, Text}, _Worker, Guard) ->
    case plain(Text) of
        {ok, Plain} -> spent({print, Plain}, byte_size(Plain), Guard);
        error -> doom
    end;
judge({message, Worker, {'$py.own', Id, Ids} = Own}, Worker, Guard) when is_integer(Id) ->
    case is_ids(Ids, ?MOST_IDS) of
        true -> {do, {message, Worker, Own}, Guard};
        false -> doom
    end;
judge({message, Worker, {Kind, Id}} = Message, Worker, Guard) when
    Kind =:= '$py.later' orelse Kind =:= '$py.told', is_integer(Id)
->
    {do, Message, Guard};
judge({message, Worker, {'$py.log', {Level, Name, Text, File, Line}}}, Worker, Guard) when
    is_atom(Level), is_integer(Line)
->
    case {plain(Name), plain(Text), plain(File)} of
        {{ok, PlainName}, {ok, PlainText}, {ok, PlainFile}} ->
            Record = {Level, list(PlainName), list(cut(PlainText)), list(cut(PlainFile)), Line},
            Request = {message, Worker, {'$py.log', Record}},
            spent(Request, byte_size(PlainText) + byte_size(PlainName) + byte_size(PlainFile), Guard);
        _ ->
            doom
    end;
judge({message, _To, _Message}, _Worker, #guard{has_warned = false} = Guard) ->
    {warn, "a sandboxed Python may send no messages to Erlang processes; they are dropped", Guard#guard{has_warned = true}};
judge({message, _To, _Message}, _Worker, Guard) ->
    {drop, Guard};
judge({call, Id, Module, Function, Args, _Context}, _Worker, #guard{open = Open} = Guard) when
    is_integer(Id), Open < ?MOST_OPEN
->
    %% Whatever context it asks for: none of them is answered without a look at what it may call.
    Call = {call, Id, Module, Function, Args, 'N'},
    case is_allowed(Module, Function, Guard) andalso is_proper(Args) of
        true -> {do, Call, Guard#guard{open = Open + 1}};
        false when Guard#guard.refused < ?MOST_REFUSED ->
            {do, Call, Guard#guard{open = Open + 1, refused = Guard#guard.refused + 1}};
        false -> doom
    end;
judge({handler_error, {python, _, _, _} = Error}, _Worker, Guard) ->
    case failure(Error, node) of
        {python, _, Text, _} = Harmless -> spent({handler_error, Harmless}, length(Text), Guard);
        _ -> {drop, Guard}
    end;
judge({handler_error, _}, _Worker, Guard) ->
    {drop, Guard};
judge(_, _Worker, _Guard) ->
    doom.

is_allowed(_, _, #guard{callbacks = none}) -> false;
is_allowed(Module, Function, #guard{callbacks = Listed}) -> lists:member({Module, Function}, Listed).

is_proper(Args) -> is_list(Args) andalso length_or_error(Args) =/= error.

length_or_error(List) ->
    try
        length(List)
    catch
        error:badarg -> error
    end.

is_ids(Ids, Most) ->
    case is_list(Ids) andalso length_or_error(Ids) of
        Length when is_integer(Length), Length =< Most -> lists:all(fun(Id) -> is_integer(Id) andalso Id > 0 end, Ids);
        _ -> false
    end.

spent(Request, Bytes, #guard{bytes = Spent, records = Records} = Guard) when
    Spent + Bytes =< ?MOST_BYTES, Records < ?MOST_RECORDS
->
    {do, Request, Guard#guard{bytes = Spent + Bytes, records = Records + 1}};
spent(_Request, _Bytes, #guard{has_warned = false} = Guard) ->
    {warn, "a sandboxed Python prints or logs more than 1 MiB or 1000 texts a second; what is beyond is dropped",
        Guard#guard{has_warned = true}};
spent(_Request, _Bytes, Guard) ->
    {drop, Guard}.

%% @doc A call of Erlang has been answered.
-spec answered(guard() | undefined) -> guard() | undefined.
answered(#guard{open = Open} = Guard) when Open > 0 -> Guard#guard{open = Open - 1};
answered(Guard) -> Guard.

%%% Texts

%% Without the control characters that a terminal obeys.
plain(Text) when is_list(Text); is_binary(Text) ->
    try unicode:characters_to_list(Text) of
        List when is_list(List) -> {ok, unicode:characters_to_binary([shown(Char) || Char <- List])};
        _ -> error
    catch
        error:badarg -> error
    end;
plain(_) ->
    error.

shown(Char) when Char =:= $\n; Char =:= $\t -> Char;
shown(Char) when Char < 32; Char >= 127, Char < 160 -> io_lib:format("\\x~2.16.0b", [Char]);
shown(Char) -> Char.

%% @doc Bytes that are to be read by people, without the control characters that a terminal obeys.
-spec visible(binary()) -> binary().
visible(Bytes) ->
    case plain(Bytes) of
        {ok, Plain} -> Plain;
        error -> unicode:characters_to_binary([shown(Byte) || <<Byte>> <= Bytes])
    end.

cut(Text) when byte_size(Text) =< ?MOST_TEXT -> Text;
cut(Text) -> [binary:part(Text, 0, ?MOST_TEXT), " .."].

list(Text) ->
    case unicode:characters_to_list(Text) of
        List when is_list(List) -> List;
        {_, List, _} -> List
    end.

%%% Answers

%% @doc Whether a request may have so many bytes as this frame.
-spec is_request(binary()) -> boolean().
is_request(Frame) -> byte_size(Frame) =< ?MOST_REQUEST.

%% @doc Whether the term in a frame has at most half a GiB on a heap. What its bytes name is not made for that.
-spec is_bearable(binary()) -> boolean().
is_bearable(Frame) when byte_size(Frame) =< ?SMALL_FRAME -> true;
is_bearable(<<131, Bytes/binary>>) -> is_bearable(Bytes, 1, ?MOST_WORDS);
is_bearable(_) -> false.

%% Tags of the external term format (ERTS User's Guide): those of values, and of the pid in a reference of Python's. `Missing'
%% is the number of terms still to come.
%% (All clauses match on bytes: so the compiler keeps its place in them from one to the next.)
is_bearable(<<_/binary>>, _, Words) when Words < 0 -> false;
is_bearable(<<_/binary>>, 0, _) -> true;
is_bearable(<<97, _, Rest/binary>>, Missing, Words) -> is_bearable(Rest, Missing - 1, Words);
is_bearable(<<98, _:32, Rest/binary>>, Missing, Words) -> is_bearable(Rest, Missing - 1, Words);
is_bearable(<<106, Rest/binary>>, Missing, Words) -> is_bearable(Rest, Missing - 1, Words);
is_bearable(<<70, _:64, Rest/binary>>, Missing, Words) -> is_bearable(Rest, Missing - 1, Words - 2);
is_bearable(<<104, Arity, Rest/binary>>, Missing, Words) -> is_bearable(Rest, Missing - 1 + Arity, Words - 1 - Arity);
is_bearable(<<105, Arity:32, Rest/binary>>, Missing, Words) -> is_bearable(Rest, Missing - 1 + Arity, Words - 1 - Arity);
is_bearable(<<108, Length:32, Rest/binary>>, Missing, Words) -> is_bearable(Rest, Missing + Length, Words - 2 * Length);
is_bearable(<<116, Size:32, Rest/binary>>, Missing, Words) ->
    is_bearable(Rest, Missing - 1 + 2 * Size, Words - 4 * Size - 8);
is_bearable(<<107, Size:16, _:Size/binary, Rest/binary>>, Missing, Words) ->
    is_bearable(Rest, Missing - 1, Words - 2 * Size);
is_bearable(<<109, Size:32, _:Size/binary, Rest/binary>>, Missing, Words) ->
    is_bearable(Rest, Missing - 1, Words - 12);
is_bearable(<<77, Size:32, _, _:Size/binary, Rest/binary>>, Missing, Words) ->
    is_bearable(Rest, Missing - 1, Words - 16);
is_bearable(<<110, Size, _, _:Size/binary, Rest/binary>>, Missing, Words) ->
    is_bearable(Rest, Missing - 1, Words - 2 - Size div 8);
is_bearable(<<111, Size:32, _, _:Size/binary, Rest/binary>>, Missing, Words) ->
    is_bearable(Rest, Missing - 1, Words - 2 - Size div 8);
is_bearable(<<Tag, Size, _:Size/binary, Rest/binary>>, Missing, Words) when Tag =:= 115; Tag =:= 119 ->
    is_bearable(Rest, Missing - 1, Words);
is_bearable(<<Tag, Size:16, _:Size/binary, Rest/binary>>, Missing, Words) when Tag =:= 100; Tag =:= 118 ->
    is_bearable(Rest, Missing - 1, Words);
%% The node's name, then twelve bytes.
is_bearable(<<88, 119, Size, _:Size/binary, _:12/binary, Rest/binary>>, Missing, Words) ->
    is_bearable(Rest, Missing - 1, Words - 6);
is_bearable(<<88, 100, Size:16, _:Size/binary, _:12/binary, Rest/binary>>, Missing, Words) ->
    is_bearable(Rest, Missing - 1, Words - 6);
is_bearable(<<_/binary>>, _, _) ->
    false.

%% @doc Whether a result is only a value: `{refused, What}' where it has a process, a port, a reference or a function of
%% Erlang's in it, names shared memory, or stands for an object of another worker than the one that was called.
-spec value(term(), Worker :: pid()) -> ok | {refused, string()}.
value(Term, Worker) ->
    case walk([Term], Worker) of
        ok -> ok;
        {found, What} -> {refused, "a sandboxed Python may not answer with " ++ What}
    end.

%% A stack of terms to look at: what is nested deep does not nest here.
walk([], _Worker) -> ok;
walk([Term | Rest], Worker) when is_number(Term); is_atom(Term); is_bitstring(Term); Term =:= [] ->
    walk(Rest, Worker);
walk([[Head | Tail] | Rest], Worker) when is_number(Head); is_atom(Head); is_bitstring(Head) -> walk([Tail | Rest], Worker);
walk([[Head | Tail] | Rest], Worker) -> walk([Head, Tail | Rest], Worker);
walk([{'$py.ref', Of, Incarnation, Id} | Rest], Worker) ->
    case Of =:= Worker andalso is_integer(Incarnation) andalso is_integer(Id) of
        true -> walk(Rest, Worker);
        false -> {found, "a reference to another worker's object"}
    end;
%% It has no part in that: whoever frees or reads it would free or read another's.
walk([{'$py.shm', _} | _], _Worker) -> {found, "shared memory"};
walk([Term | Rest], Worker) when is_tuple(Term) -> walk(tuple_to_list(Term) ++ Rest, Worker);
walk([Term | Rest], Worker) when is_map(Term) -> walk([maps:to_list(Term) | Rest], Worker);
walk([Term | _], _Worker) when is_pid(Term) -> {found, "a pid"};
walk([Term | _], _Worker) when is_port(Term) -> {found, "a port"};
walk([Term | _], _Worker) when is_reference(Term) -> {found, "an Erlang reference"};
walk([Term | _], _Worker) when is_function(Term) -> {found, "an Erlang function"}.

%% @doc An exception, if that is what it is: of another shape it would be taken for an error of somebody else's. The shell
%% prints its texts, so what a terminal obeys is not in them.
-spec failure(term(), py_atoms:budget()) -> py_error:python_error() | py_error:erlang_error() | {py, py_error:reason()}.
failure({python, Class, Text, Trace}, _Budget) ->
    try
        {python, class(Class), text(Text), trace(Trace)}
    catch
        throw:no_exception -> unreadable()
    end;
failure({erlang, {'$erlport.opaque', erlang, Bytes}}, Budget) when is_binary(Bytes) ->
    case py_atoms:decode(Bytes, Budget) of
        {ok, {Class, Reason, Stack}} when Class =:= error; Class =:= exit; Class =:= throw ->
            {erlang, Class, Reason, [Frame || is_proper(Stack), Frame <- Stack, is_tuple(Frame)]};
        _ ->
            unreadable()
    end;
failure(_, _Budget) ->
    unreadable().

unreadable() -> {py, {protocol, unreadable_answer}}.

class(Class) when is_atom(Class) ->
    case visible(atom_to_binary(Class)) =:= atom_to_binary(Class) of
        true -> Class;
        false -> throw(no_exception)
    end;
class(_) ->
    throw(no_exception).

text(Text) ->
    case plain(Text) of
        {ok, Plain} when is_list(Text) -> list(Plain);
        {ok, Plain} -> Plain;
        error -> throw(no_exception)
    end.

trace(Trace) ->
    is_proper(Trace) orelse throw(no_exception),
    [frame(Frame) || Frame <- Trace].

frame({cause, Class, Text, Trace}) -> {cause, class(Class), text(Text), trace(Trace)};
frame({File, Line, Function, Source}) when is_integer(Line) -> {text(File), Line, text(Function), text(Source)};
frame({item, Index}) when is_integer(Index) -> {item, Index};
frame(_) -> throw(no_exception).
