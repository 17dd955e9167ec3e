%%% @doc The names by which a service is reached: what `Host' may be, so that a page that a browser has from somewhere else can't be made to ask here
%%% under a name of its own.
%%% @private
-module(py_service_hosts).

-export([names/2, reached/1]).

%% @doc The names of an address, with those that were given; those of IPv6 in brackets.
-spec names(inet:ip_address(), [binary()]) -> [binary()].
names(Ip, Given) -> lists:usort([name(Name) || Name <- own(Ip) ++ [unicode:characters_to_list(Host) || Host <- Given]]).

own({0, 0, 0, 0}) -> everywhere();
own({0, 0, 0, 0, 0, 0, 0, 0}) -> everywhere();
own({127, _, _, _} = Ip) -> ["localhost", "127.0.0.1", "::1", inet:ntoa(Ip)];
own({0, 0, 0, 0, 0, 0, 0, 1}) -> ["localhost", "127.0.0.1", "::1"];
own(Ip) -> [inet:ntoa(Ip)].

everywhere() ->
    {ok, Name} = inet:gethostname(),
    Addresses =
        case inet:getifaddrs() of
            {ok, Interfaces} -> [inet:ntoa(Address) || {_, Options} <- Interfaces, {addr, Address} <- Options];
            {error, _} -> []
        end,
    ["localhost", "127.0.0.1", "::1", Name | Addresses].

name(Name) -> unicode:characters_to_binary(string:lowercase(case lists:member($:, Name) of true -> ["[", Name, "]"]; false -> Name end)).

%% @doc The host of the service's URL.
-spec reached(inet:ip_address()) -> string().
reached({0, 0, 0, 0}) -> "127.0.0.1";
reached({0, 0, 0, 0, 0, 0, 0, 0}) -> "[::1]";
reached(Ip) when tuple_size(Ip) =:= 8 -> "[" ++ inet:ntoa(Ip) ++ "]";
reached(Ip) -> inet:ntoa(Ip).
