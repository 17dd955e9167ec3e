%%% @doc What a sandboxed Python may say. Pure.
%%%
%%% Whoever has taken over a sandboxed interpreter writes what they like to its port. So each frame is held to what a good one
%%% has reason to send: answers to the calls that it was given, with values that are only values; texts and log records of a
%%% bounded size and rate; calls of the functions that the pool lists. What goes beyond is dropped, refused, or ends the
%%% interpreter.
%%%
%%% It is one door with two leaves. What a frame's bytes would become is looked at before they do: an answer by {@link look/1},
%%% which its caller asks for, a request by {@link admit/2}, in the worker process. What they have become is looked at then:
%%% {@link value/2} and {@link failure/2}, {@link request/4}.
%%% @private
-module(py_guard).

-export([new/1, budget/2, admit/2, request/4, answered/1, look/1, value/2, failure/2, visible/1]).
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
    %% The runs of other nodes whose processes it has named.
    nodes = #{} :: #{py_etf:node_key() => []},
    callbacks :: none | [{module(), atom()}],
    %% Whether what it prints may have control characters: for who looks at it in something else than a terminal.
    keeps_control = false :: boolean()
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
%% A request of more bytes, or of more words on a heap, is none.
-define(MOST_REQUEST, 4_194_304).
-define(MOST_REQUEST_WORDS, 8_388_608).
%% What an answer may take on a heap: half a GiB; a failure of the caller's call, whose texts may become four times as long, a
%% quarter of that.
-define(MOST_WORDS, 67_108_864).
-define(MOST_FAILURE_WORDS, 16_777_216).
%% Of each text of a failure.
-define(MOST_FAILURE_TEXT, 1_048_576).
%% Larger numbers are printed for minutes, and what fails is printed.
-define(MOST_INTEGER, (1 bsl 4_096)).
%% Other nodes' processes have reason to be named: in what was sent to it. Each run of a node is kept for a while.
-define(MOST_NODES, 64).
-define(TOO_MUCH, "the answer of a sandboxed Python has more terms than are let in").
-define(IS_ID(Id), (is_integer(Id) andalso Id > -(1 bsl 59) andalso Id < (1 bsl 59))).
-define(IS_LINE(Line), (is_integer(Line) andalso Line >= 0 andalso Line < (1 bsl 31))).

%% @doc For one interpreter of a pool with these options; `undefined' where it is trusted.
-spec new(py_config:pool()) -> guard() | undefined.
new(#{sandbox := none}) -> undefined;
new(#{callbacks := Callbacks, control_chars := Control}) -> #guard{callbacks = Callbacks, keeps_control = Control =:= keep}.

%% @doc Whose atoms the Python of a worker of this pool makes. The workers of sessions, each of which is somebody else's, have
%% one pool: what one of them spends must not be missing in the next. That of a worker is drawn up once, and handed to each
%% worker process that comes after it (`atoms'): what it has spent is not forgotten with one that crashes.
-spec budget(py_config:pool_name(), py_config:pool()) -> py_atoms:budget().
budget(_Pool, #{atoms := Budget}) ->
    Budget;
budget(_Pool, #{sandbox := none}) ->
    node;
budget(Pool, _Config) ->
    case py_session_options:pool() of
        Pool -> py_atoms:session();
        _ -> {sandbox, Pool}
    end.

%% @doc Whether a request may be read: it is small, also as a term, and does not name processes of nodes without end, each of
%% which the emulator would keep.
-spec admit(binary(), guard()) -> {ok, guard()} | error.
admit(Frame, #guard{nodes = Known} = Guard) when byte_size(Frame) =< ?MOST_REQUEST ->
    case py_etf:look(Frame, ?MOST_REQUEST_WORDS) of
        {ok, _Words, []} ->
            {ok, Guard};
        {ok, _Words, Handles} ->
            Own = py_etf:own_node(),
            Nodes = maps:merge(Known, maps:from_list([{Node, []} || {_, Node} <- Handles, Node =/= Own])),
            case map_size(Nodes) =< ?MOST_NODES of
                true -> {ok, Guard#guard{nodes = Nodes}};
                false -> error
            end;
        {error, _} ->
            error
    end;
admit(_Frame, _Guard) ->
    error.

%% @doc What is to become of a request at this time.
-spec request(py_wire:request() | error, Worker :: pid(), NowMs :: integer(), guard()) -> verdict().
request(Request, Worker, NowMs, Guard) -> judge(Request, Worker, in_second(NowMs div 1_000, Guard)).

in_second(Second, #guard{second = Second} = Guard) -> Guard;
in_second(Second, Guard) -> Guard#guard{second = Second, bytes = 0, records = 0}.

judge({print, Text}, _Worker, Guard) ->
    case bytes(Text) of
        {ok, Bytes} when byte_size(Bytes) > ?MOST_BYTES -> spent(none, byte_size(Bytes), Guard);
        {ok, Bytes} when Guard#guard.keeps_control -> spent({print, Bytes}, byte_size(Bytes), Guard);
        {ok, Bytes} -> Plain = shown(Bytes), spent({print, Plain}, byte_size(Plain), Guard);
        error -> doom
    end;
judge({message, Worker, {'$py.own', Id, Ids} = Own}, Worker, Guard) when ?IS_ID(Id) ->
    case is_ids(Ids, ?MOST_IDS) of
        true -> {do, {message, Worker, Own}, Guard};
        false -> doom
    end;
judge({message, Worker, {Kind, Id}} = Message, Worker, Guard) when
    Kind =:= '$py.later' orelse Kind =:= '$py.told' orelse Kind =:= '$py.importing' orelse Kind =:= '$py.dropped' orelse
        Kind =:= '$py.alone' orelse Kind =:= '$py.signal' orelse Kind =:= '$py.unbegun' orelse Kind =:= '$py.goes_on',
    ?IS_ID(Id)
->
    {do, Message, Guard};
judge({message, Worker, {'$py.print', Id, Text}}, Worker, Guard) when ?IS_ID(Id) ->
    of_call(Id, judge({print, Text}, Worker, Guard), Worker);
judge({message, Worker, {'$py.log', Id, Record}}, Worker, Guard) when ?IS_ID(Id) ->
    of_call(Id, judge({message, Worker, {'$py.log', Record}}, Worker, Guard), Worker);
judge({message, Worker, {'$py.log', {Level, Name, Text, File, Line}}}, Worker, Guard) when is_atom(Level), ?IS_LINE(Line) ->
    case {bytes(Name), bytes(Text), bytes(File)} of
        {{ok, N}, {ok, T}, {ok, F}} ->
            [PlainName, PlainText, PlainFile] = [shown(cut(Bytes, ?MOST_TEXT)) || Bytes <- [N, T, F]],
            Record = {Level, list(PlainName), list(PlainText), list(PlainFile), Line},
            Request = {message, Worker, {'$py.log', Record}},
            spent(Request, byte_size(PlainText) + byte_size(PlainName) + byte_size(PlainFile), Guard);
        _ ->
            doom
    end;
judge({message, _To, _Message}, _Worker, #guard{has_warned = false} = Guard) ->
    {warn, "a sandboxed Python may send no messages to Erlang processes; they are dropped", Guard#guard{has_warned = true}};
judge({message, _To, _Message}, _Worker, Guard) ->
    {drop, Guard};
judge({call, Id, Module, Function, Args, Context}, _Worker, #guard{open = Open, refused = Refused} = Guard) when
    ?IS_ID(Id), Open < ?MOST_OPEN, length(Args) >= 0
->
    %% Whatever context it asks for: none of them is answered without a look at what it may call.
    Call = {call, Id, Module, Function, Args, if ?IS_ID(Context) -> Context; true -> 'N' end},
    {Named, Name, _} = py_trace:named(Module, Function, Args),
    case is_allowed(Named, Name, Guard) of
        true -> {do, Call, Guard#guard{open = Open + 1}};
        false when Refused < ?MOST_REFUSED -> {do, Call, Guard#guard{open = Open + 1, refused = Refused + 1}};
        false -> doom
    end;
judge({handler_error, {python, _, _, _} = Error}, _Worker, Guard) ->
    case failure(Error, node) of
        {python, Class, Text, Trace} ->
            {ok, Bytes} = bytes(Text),
            Harmless = {python, Class, list(cut(Bytes, ?MOST_TEXT)), Trace},
            spent({handler_error, Harmless}, 8 * erts_debug:flat_size(Harmless), Guard);
        _ ->
            {drop, Guard}
    end;
judge({handler_error, _}, _Worker, Guard) ->
    {drop, Guard};
judge(_, _Worker, _Guard) ->
    doom.

%% What is harmless without the id of its call is so with it.
of_call(Id, {do, {print, Text}, Guard}, Worker) -> {do, {message, Worker, {'$py.print', Id, Text}}, Guard};
of_call(Id, {do, {message, Worker, {'$py.log', Record}}, Guard}, Worker) -> {do, {message, Worker, {'$py.log', Id, Record}}, Guard};
of_call(_Id, Other, _Worker) -> Other.

is_allowed(_, _, #guard{callbacks = none}) -> false;
is_allowed(Module, Function, #guard{callbacks = Listed}) -> lists:member({Module, Function}, Listed).

is_ids(Ids, Most) when length(Ids) =< Most -> lists:all(fun(Id) -> ?IS_ID(Id) andalso Id > 0 end, Ids);
is_ids(_, _) -> false.

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

%% A text in UTF-8.
bytes(Text) when is_list(Text); is_binary(Text) ->
    try unicode:characters_to_binary(Text) of
        Bytes when is_binary(Bytes) -> {ok, Bytes};
        _ -> error
    catch
        error:badarg -> error
    end;
bytes(_) ->
    error.

%% Without the control characters that a terminal obeys.
shown(Bytes) ->
    case has_control(Bytes) of
        true -> << <<(shown_char(Char))/binary>> || <<Char/utf8>> <= Bytes >>;
        false -> Bytes
    end.

-define(IS_CONTROL(Char), (Char < 32 andalso Char =/= $\n andalso Char =/= $\t orelse Char >= 127 andalso Char < 160)).

has_control(<<Char/utf8, _/binary>>) when ?IS_CONTROL(Char) -> true;
has_control(<<_/utf8, Rest/binary>>) -> has_control(Rest);
has_control(<<>>) -> false.

shown_char(Char) when ?IS_CONTROL(Char) -> iolist_to_binary(io_lib:format("\\x~2.16.0b", [Char]));
shown_char(Char) -> <<Char/utf8>>.

%% @doc Bytes that are to be read by people, without the control characters that a terminal obeys.
-spec visible(binary()) -> binary().
visible(Bytes) ->
    case bytes(Bytes) of
        {ok, Text} -> shown(Text);
        error -> << <<(shown_char(Byte))/binary>> || <<Byte>> <= Bytes >>
    end.

%% At most so many bytes, whole characters of them.
cut(Bytes, Most) when byte_size(Bytes) =< Most -> Bytes;
cut(Bytes, Most) ->
    case unicode:characters_to_binary(binary:part(Bytes, 0, Most)) of
        {_, Whole, _} -> <<Whole/binary, " ..">>;
        Whole -> <<Whole/binary, " ..">>
    end.

list(Bytes) -> unicode:characters_to_list(Bytes).

%%% Answers

%% @doc Whether an answer may be read: it takes at most half a GiB on a heap, and has nothing in it that would leave something in
%% the emulator. `plain': there is nothing in it either that {@link value/2} would refuse.
-spec look(binary()) -> plain | ok | {refused, string()} | error.
look(Frame) ->
    case py_etf:look(Frame, ?MOST_WORDS) of
        {ok, _Words, []} ->
            %% What is marked as one of ours is headed by an atom that begins so.
            case binary:match(Frame, <<"$py.">>) of
                nomatch -> plain;
                _ -> ok
            end;
        {ok, _Words, Handles} ->
            Own = py_etf:own_node(),
            case [Kind || {Kind, Node} <- Handles, Node =/= Own] ++ [function || function <- Handles] of
                [] -> ok;
                [Kind | _] -> refused(Kind)
            end;
        {error, too_large} -> {refused, ?TOO_MUCH};
        {error, too_many_handles} -> refused(pid);
        {error, unreadable} -> error
    end.

refused(Kind) -> {refused, "a sandboxed Python may not answer with " ++ name(Kind)}.

name(pid) -> "a pid";
name(port) -> "a port";
name(reference) -> "an Erlang reference";
name(function) -> "an Erlang function".

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
    case Of =:= Worker andalso ?IS_ID(Incarnation) andalso ?IS_ID(Id) of
        true -> walk(Rest, Worker);
        false -> {found, "a reference to another worker's object"}
    end;
%% It has no part in that: whoever frees or reads it would free or read another's.
walk([{'$py.shm', _} | _], _Worker) -> {found, "shared memory"};
walk([Term | Rest], Worker) when is_tuple(Term) -> walk(tuple_to_list(Term) ++ Rest, Worker);
walk([Term | Rest], Worker) when is_map(Term) -> walk([maps:to_list(Term) | Rest], Worker);
walk([Term | _], _Worker) when is_pid(Term) -> {found, name(pid)};
walk([Term | _], _Worker) when is_port(Term) -> {found, name(port)};
walk([Term | _], _Worker) when is_reference(Term) -> {found, name(reference)};
walk([Term | _], _Worker) when is_function(Term) -> {found, name(function)}.

%% @doc An exception, if that is what it is: of another shape it would be taken for an error of somebody else's. The shell
%% prints its texts, so what a terminal obeys is not in them.
%%
%% What an Erlang function raised that Python called is there as bytes of a term. They are looked at as the frame was, and what
%% they become is a value with such texts, none of the bridge's own errors, and a stack that only says where it was: what a
%% stack says of how an error is printed (`error_info') is run by the shell.
-spec failure(term(), py_atoms:budget()) -> py_error:python_error() | py_error:erlang_error() | {py, py_error:reason()}.
failure(Error, Budget) ->
    Left = ?MOST_FAILURE_WORDS - erts_debug:flat_size(Error),
    try
        Left >= 0 orelse throw({?MODULE, {encode, ?TOO_MUCH}}),
        exception(Error, Left, Budget)
    catch
        throw:{?MODULE, Reason} -> {py, Reason}
    end.

exception({python, Class, Text, Trace}, _Left, _Budget) ->
    {python, name_of(Class), text(Text), trace(Trace)};
exception({erlang, {'$erlport.opaque', erlang, Bytes}}, Left, Budget) when is_binary(Bytes) ->
    case py_etf:look(Bytes, Left) of
        {ok, _Words, []} -> raised(py_atoms:decode(Bytes, Budget));
        {error, too_large} -> throw({?MODULE, {encode, ?TOO_MUCH}});
        _ -> no_exception()
    end;
exception(_, _Left, _Budget) ->
    no_exception().

-spec no_exception() -> no_return().
no_exception() -> throw({?MODULE, {protocol, unreadable_answer}}).

raised({ok, {Class, Reason, Stack}}) when Class =:= error; Class =:= exit; Class =:= throw ->
    is_ours(Reason) andalso no_exception(),
    {erlang, Class, harmless(Reason), stack(Stack)};
raised(_) ->
    no_exception().

%% What the bridge itself raises, or says that Python did.
is_ours({py, _}) -> true;
is_ours({python, _, _, _}) -> true;
is_ours(_) -> false.

stack(Stack) when length(Stack) >= 0 -> lists:append([place(Frame) || Frame <- Stack]);
stack(_) -> [].

place({Module, Function, Args, Info}) when is_atom(Module), is_atom(Function), length(Args) >= 0 ->
    place({Module, Function, length(Args), Info});
place({Module, Function, Arity, Info}) when
    is_atom(Module), is_atom(Function), is_integer(Arity), Arity >= 0, Arity < 256, length(Info) >= 0
->
    [{name_of(Module), name_of(Function), Arity, lists:append([position(Some) || Some <- Info])}];
place(_) ->
    [].

position({file, File}) when is_list(File) -> [{file, text(File)}];
position({line, Line}) when ?IS_LINE(Line) -> [{line, Line}];
position(_) -> [].

%% A term as it is, but for its texts.
harmless(Term) when is_atom(Term) -> name_of(Term);
harmless(Term) when is_integer(Term), abs(Term) < ?MOST_INTEGER; is_float(Term) -> Term;
harmless(Term) when is_binary(Term) -> visible(Term);
harmless(Term) when is_bitstring(Term); Term =:= [] -> Term;
harmless({'$erlport.opaque', Language, Bytes}) when is_binary(Bytes) -> {'$erlport.opaque', harmless(Language), Bytes};
harmless({'$py.shm', _}) -> no_exception();
harmless(Term) when is_tuple(Term) -> list_to_tuple([harmless(Part) || Part <- tuple_to_list(Term)]);
harmless(Term) when is_map(Term) ->
    maps:from_list([{harmless(Key), harmless(Value)} || {Key, Value} <- maps:to_list(Term)]);
harmless([_ | _] = Term) ->
    case is_text(Term) of
        true -> text(Term);
        false -> parts(Term)
    end;
harmless(_) ->
    no_exception().

parts([Head | Tail]) -> [harmless(Head) | parts(Tail)];
parts(Tail) -> harmless(Tail).

%% Whether a list may be a text that a terminal obeys: characters, of which one begins a command, or none is what no text has.
%% Other lists of numbers stay what they are.
is_text(List) -> is_text(List, false, true).

is_text([Char | Rest], Commands, IsPrintable) when
    is_integer(Char), Char >= 0, Char < 16#d800; is_integer(Char), Char > 16#dfff, Char =< 16#10ffff
->
    Command = Char =:= 27 orelse Char >= 127 andalso Char < 160,
    is_text(Rest, Commands orelse Command, IsPrintable andalso (Char >= 32 orelse Char >= 7 andalso Char =< 13 orelse Command));
is_text([], Commands, IsPrintable) -> Commands orelse IsPrintable;
is_text(_, _, _) -> false.

name_of(Name) when is_atom(Name) ->
    Bytes = atom_to_binary(Name),
    case has_control(Bytes) of
        true -> no_exception();
        false -> Name
    end;
name_of(_) ->
    no_exception().

text(Text) ->
    case bytes(Text) of
        {ok, Bytes} when is_list(Text) -> list(shown(cut(Bytes, ?MOST_FAILURE_TEXT)));
        {ok, Bytes} -> shown(cut(Bytes, ?MOST_FAILURE_TEXT));
        error -> no_exception()
    end.

trace(Trace) when length(Trace) >= 0 -> [frame(Frame) || Frame <- Trace];
trace(_) -> no_exception().

frame({cause, Class, Text, Trace}) -> {cause, name_of(Class), text(Text), trace(Trace)};
frame({File, Line, Function, Source}) when ?IS_LINE(Line) -> {text(File), Line, text(Function), text(Source)};
frame({item, Index}) when ?IS_ID(Index) -> {item, Index};
frame(_) -> no_exception().
